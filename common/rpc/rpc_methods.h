/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The catalogue of RPC methods: X(ID, number, "Name", service, flags, request type, reply type).
 * Types are messages of proto/ without the steppe_ prefix; `Empty` has no fields. Numbers are
 * append-only. A list reply's body is a sequence of field-1 entries and may be read item by item
 * without decoding the whole.
 */
#pragma once

#include "base/base.h"

enum rpc_service { RPC_TO_RAFTD, RPC_TO_SERFD };

enum rpc_flags {
    RPC_READ = 1,    /* no effect: may be sent again; with Request.stale any server answers */
    RPC_WRITE = 2,   /* goes through the raft log */
    RPC_LOCAL = 4,   /* about this very server: never forwarded to the leader or another region */
    RPC_ONE_WAY = 8, /* no reply */
    RPC_STREAM = 32, /* answered in parts: never sent twice on the way, who asks does that */
    RPC_AGAIN = 16,  /* with WRITE: no harm when the next leader gets it, too, after the last one */
};

/* 34, 36 and 37 were used before. */
/* clang-format off */
#define RPC_METHODS(X)                                                                                              \
    X(STATUS_PING,          1, "Status.Ping",              RAFTD, RPC_READ | RPC_LOCAL, Empty, Empty)               \
    X(STATUS_LEADER,        2, "Status.Leader",            RAFTD, RPC_READ,  Empty, StatusLeaderResponse)           \
    X(STATUS_PEERS,         3, "Status.Peers",             RAFTD, RPC_READ,  Empty, StatusPeersResponse)            \
    X(STATUS_SERVER,        4, "Status.Server",            RAFTD, RPC_READ | RPC_LOCAL, Empty, ServerStatus)        \
    X(RAFT_MESSAGE,        10, "Raft.Message",             RAFTD, RPC_LOCAL | RPC_ONE_WAY, Empty, Empty)            \
    X(OPERATOR_RAFT_CONFIGURATION, 11, "Operator.RaftGetConfiguration", RAFTD, RPC_READ, Empty, RaftConfiguration)  \
    X(OPERATOR_RAFT_REMOVE_PEER,   12, "Operator.RaftRemovePeer", RAFTD, RPC_WRITE, RaftRemovePeerRequest, GenericResponse) \
    X(JOB_REGISTER,        20, "Job.Register",             RAFTD, RPC_WRITE, JobRegisterRequest, JobRegisterResponse) \
    X(JOB_DEREGISTER,      21, "Job.Deregister",           RAFTD, RPC_WRITE, JobDeregisterRequest, JobDeregisterResponse) \
    X(JOB_GET,             22, "Job.GetJob",               RAFTD, RPC_READ,  JobSpecificRequest, Job)               \
    X(JOB_LIST,            23, "Job.List",                 RAFTD, RPC_READ,  Empty, JobListResponse)                \
    X(JOB_VERSIONS,        24, "Job.GetJobVersions",       RAFTD, RPC_READ,  JobSpecificRequest, JobVersionsResponse) \
    X(JOB_SUMMARY,         25, "Job.Summary",              RAFTD, RPC_READ,  JobSpecificRequest, JobSummary)        \
    X(JOB_EVALUATIONS,     26, "Job.Evaluations",          RAFTD, RPC_READ,  JobSpecificRequest, EvalListResponse)  \
    X(JOB_ALLOCATIONS,     27, "Job.Allocations",          RAFTD, RPC_READ,  JobAllocationsRequest, AllocListResponse) \
    X(JOB_EVALUATE,        28, "Job.Evaluate",             RAFTD, RPC_WRITE, JobEvaluateRequest, JobRegisterResponse) \
    X(JOB_DEPLOYMENTS,     29, "Job.Deployments",          RAFTD, RPC_READ,  JobAllocationsRequest, DeploymentListResponse) \
    X(EVAL_LIST,           30, "Eval.List",                RAFTD, RPC_READ,  Empty, EvalListResponse)               \
    X(EVAL_GET,            31, "Eval.GetEval",             RAFTD, RPC_READ,  EvalSpecificRequest, Evaluation)       \
    X(EVAL_ALLOCATIONS,    32, "Eval.Allocations",         RAFTD, RPC_READ,  EvalSpecificRequest, AllocListResponse) \
    X(EVAL_DEQUEUE,        33, "Eval.Dequeue",             RAFTD, RPC_WRITE | RPC_AGAIN, EvalDequeueRequest, EvalDequeueResponse) \
    X(EVAL_NACK,           35, "Eval.Nack",                RAFTD, RPC_WRITE, EvalNackRequest, GenericResponse)      \
    X(PLAN_SUBMIT,         38, "Plan.Submit",              RAFTD, RPC_WRITE, Plan, PlanResult)                       \
    X(EVAL_FINISH,         39, "Eval.Finish",              RAFTD, RPC_WRITE, EvalFinishRequest, EvalFinishResponse) \
    X(NODE_REGISTER,       40, "Node.Register",            RAFTD, RPC_WRITE, NodeRegisterRequest, NodeUpdateResponse) \
    X(NODE_UPDATE_STATUS,  41, "Node.UpdateStatus",        RAFTD, RPC_WRITE, NodeUpdateStatusRequest, NodeUpdateResponse) \
    X(NODE_GET,            42, "Node.GetNode",             RAFTD, RPC_READ,  NodeSpecificRequest, Node)             \
    X(NODE_LIST,           43, "Node.List",                RAFTD, RPC_READ,  NodeListRequest, NodeListResponse)      \
    X(NODE_DEREGISTER,     44, "Node.Deregister",          RAFTD, RPC_WRITE, NodeSpecificRequest, GenericResponse)  \
    X(NODE_ELIGIBILITY,    45, "Node.UpdateEligibility",   RAFTD, RPC_WRITE, NodeEligibilityRequest, NodeEligibilityResponse) \
    X(NODE_ALLOCS,         46, "Node.GetAllocs",           RAFTD, RPC_READ,  NodeSpecificRequest, AllocsResponse)   \
    X(NODE_CLIENT_ALLOCS,  47, "Node.GetClientAllocs",     RAFTD, RPC_READ,  ClientAllocsRequest, ClientAllocsResponse) \
    X(NODE_UPDATE_ALLOC,   48, "Node.UpdateAlloc",         RAFTD, RPC_WRITE, NodeUpdateAllocRequest, GenericResponse) \
    X(NODE_EVALUATE,       49, "Node.Evaluate",            RAFTD, RPC_WRITE, NodeSpecificRequest, NodeEvaluateResponse) \
    X(SEARCH_PREFIX,       50, "Search.PrefixSearch",      RAFTD, RPC_READ,  SearchRequest, SearchResponse)         \
    X(SYSTEM_GC,           51, "System.GarbageCollect",    RAFTD, RPC_WRITE, Empty, GenericResponse)                 \
    X(SCHEDULER_GET_CONFIG, 52, "Operator.SchedulerGetConfiguration", RAFTD, RPC_READ, Empty, SchedulerConfigurationResponse) \
    X(SCHEDULER_SET_CONFIG, 53, "Operator.SchedulerSetConfiguration", RAFTD, RPC_WRITE, SchedulerSetConfigRequest, SchedulerSetConfigResponse) \
    X(SERF_MEMBERS,        60, "Serf.Members",             SERFD, RPC_READ | RPC_LOCAL, Empty, MemberList)          \
    X(SERF_JOIN,           61, "Serf.Join",                SERFD, RPC_LOCAL, SerfJoinRequest, SerfJoinResponse)     \
    X(SERF_FORCE_LEAVE,    62, "Serf.ForceLeave",          SERFD, RPC_LOCAL, SerfForceLeaveRequest, GenericResponse) \
    X(SERF_LEAVE,          63, "Serf.Leave",               SERFD, RPC_LOCAL, Empty, GenericResponse)                \
    X(SERF_STATS,          64, "Serf.Stats",               SERFD, RPC_READ | RPC_LOCAL, Empty, StatsResponse)       \
    X(SERF_SET_GROUP,      65, "Serf.SetGroup",            SERFD, RPC_LOCAL, SerfSetGroupRequest, GenericResponse)  \
    X(SERF_KEYRING_LIST,  120, "Serf.KeyringList",         SERFD, RPC_READ | RPC_LOCAL, SerfKeyringRequest, SerfKeyringResponse) \
    X(SERF_KEYRING_INSTALL, 121, "Serf.KeyringInstall",     SERFD, RPC_LOCAL, SerfKeyringRequest, SerfKeyringResponse) \
    X(SERF_KEYRING_USE,   122, "Serf.KeyringUse",          SERFD, RPC_LOCAL, SerfKeyringRequest, SerfKeyringResponse) \
    X(SERF_KEYRING_REMOVE, 123, "Serf.KeyringRemove",       SERFD, RPC_LOCAL, SerfKeyringRequest, SerfKeyringResponse) \
    X(SERF_EVENT,         124, "Serf.Event",               SERFD, RPC_LOCAL, SerfEventRequest, GenericResponse)     \
    X(SERF_QUERY,         125, "Serf.Query",               SERFD, RPC_LOCAL, SerfQueryRequest, SerfQueryResponse)   \
    X(CLIENT_CONNECT,     100, "Client.Connect",           RAFTD, RPC_STREAM, ClientConnectRequest, ClientOrder)             \
    X(CLIENT_BEAT,        101, "Client.Beat",              RAFTD, 0, ClientBeat, Empty)                             \
    X(CLIENT_DATA,        102, "Client.Data",              RAFTD, RPC_ONE_WAY, ClientData, Empty)                   \
    X(CLIENT_CALL,        103, "Client.Call",              RAFTD, RPC_STREAM, ClientCall, ClientPart)                        \
    X(CLIENT_CONTROL,     104, "Client.Control",           RAFTD, RPC_ONE_WAY, ClientControl, Empty)                \
    X(CLIENT_FIND,        105, "Client.Find",              RAFTD, RPC_READ | RPC_LOCAL, ClientFindRequest, ClientFindResponse) \
    X(CLIENT_MOVED,       106, "Client.Moved",             RAFTD, RPC_LOCAL | RPC_ONE_WAY, ClientMoved, Empty)         \
    X(SERF_JOIN_CHECK,    126, "Serf.JoinCheck",           SERFD, RPC_LOCAL, SerfJoinRequest, SerfJoinCheckResponse) \
    X(SERF_REGION_LEAVE,  127, "Serf.RegionLeave",         SERFD, RPC_LOCAL, Empty, SerfRegionResponse)             \
    X(SERF_REGION_REMOVE, 128, "Serf.RegionRemove",        SERFD, RPC_LOCAL, SerfRegionRequest, SerfRegionResponse) \
    X(REGION_LIST,         70, "Region.List",              RAFTD, RPC_READ | RPC_LOCAL, Empty, RegionListResponse)     \
    X(ALLOC_LIST,          80, "Alloc.List",               RAFTD, RPC_READ,  AllocListRequest, AllocListResponse)   \
    X(ALLOC_GET,           81, "Alloc.GetAlloc",           RAFTD, RPC_READ,  AllocSpecificRequest, Allocation)      \
    X(ALLOC_STOP,          82, "Alloc.Stop",               RAFTD, RPC_WRITE, AllocSpecificRequest, AllocStopResponse) \
    X(ALLOCS_GET,          83, "Alloc.GetAllocs",          RAFTD, RPC_READ,  AllocsGetRequest, AllocsResponse)    \
    X(DEPLOYMENT_LIST,     90, "Deployment.List",          RAFTD, RPC_READ,  Empty, DeploymentListResponse)         \
    X(DEPLOYMENT_GET,      91, "Deployment.GetDeployment", RAFTD, RPC_READ,  DeploymentSpecificRequest, Deployment) \
    X(JOB_LATEST_DEPLOYMENT, 92, "Job.LatestDeployment",   RAFTD, RPC_READ,  JobSpecificRequest, Deployment)        \
    X(DEPLOYMENT_ALLOCATIONS, 93, "Deployment.Allocations", RAFTD, RPC_READ, DeploymentSpecificRequest, AllocListResponse)
/* clang-format on */

enum rpc_method {
#define X(id, number, name, service, flags, req, rep) RPC_##id = (number),
    RPC_METHODS(X)
#undef X
};

struct rpc_method_info {
    enum rpc_method method;
    const char *name;
    enum rpc_service service;
    unsigned flags;
};

/* NULL when there is no such method. */
const struct rpc_method_info *rpc_method_info(unsigned method);
