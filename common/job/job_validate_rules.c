/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of constraints, affinities, spreads and policies. */
#include "job_validate.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"

#define DUR(ns) duration_format((ns), (char[DURATION_TEXT_MAX]){0})

bool job_text_is(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool one_of(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (job_text_is(s, *list))
            return true;
    return false;
}

/* ---- Operands ---- */

/*
 * Nodes match regular expressions with another engine than the one that users know from Go, so only
 * what no engine takes is refused here.
 */
static const char *regexp_error(const char *s)
{
    int depth = 0;
    bool class = false;

    for (; *s; s++) {
        if (*s == '\\') {
            if (!*++s)
                return "trailing backslash at end of expression";
        } else if (class) {
            class = *s != ']';
        } else if (*s == '[') {
            class = true;
            if (s[1] == '^')
                s++;
            if (s[1] == ']')
                s++;
        } else if (*s == '(') {
            depth++;
        } else if (*s == ')' && depth-- == 0) {
            return "unexpected )";
        }
    }
    return class ? "missing closing ]" : depth > 0 ? "missing closing )" : NULL;
}

/* "1", "1.2.3-rc1+meta", with or without a v. */
static bool is_version(const char *s, size_t n, bool semver)
{
    size_t i = 0, dots = 0, digits;

    if (i < n && s[i] == 'v' && !semver)
        i++;
    for (;; i++) {
        for (digits = 0; i < n && isdigit((unsigned char)s[i]); i++)
            digits++;
        if (digits == 0)
            return false;
        if (i >= n || s[i] != '.')
            break;
        dots++;
    }
    for (; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("-+.~", s[i]))
            return false;
    return dots < 16;
}

static bool is_version_part(const char *s, size_t n, bool semver)
{
    static const char *const operators[] = {">=", "<=", "!=", "~>", "=", ">", "<", NULL};
    const char *const *op;

    while (n && isspace((unsigned char)*s))
        s++, n--;
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    for (op = operators; *op; op++) {
        size_t len = strlen(*op);

        if (len <= n && memcmp(s, *op, len) == 0 && !(semver && **op == '~')) {
            s += len;
            n -= len;
            break;
        }
    }
    while (n && isspace((unsigned char)*s))
        s++, n--;
    return is_version(s, n, semver);
}

/* The first part of "A, B" that is no version constraint; *ret_len its length. NULL when all are.
 */
static const char *version_error(const char *s, bool semver, size_t *ret_len)
{
    for (;; s++) {
        size_t n = strcspn(s, ",");

        *ret_len = n;
        if (!is_version_part(s, n, semver))
            return s;
        s += n;
        if (!*s)
            return NULL;
    }
}

static void version_validate(const char *text, bool semver, const char *what, struct job_errors *e)
{
    size_t n;
    const char *bad = version_error(job_text(text), semver, &n);

    if (bad)
        job_errors_add(e, "%s %s is invalid: Malformed constraint: %.*s",
                       semver ? "Semver" : "Version", what, (int)MIN(n, (size_t)200), bad);
}

static void regexp_validate(const char *text, struct job_errors *e)
{
    const char *why = regexp_error(job_text(text));

    if (why)
        job_errors_add(e,
                       "Regular expression failed to compile: error parsing regexp: %s: `%.200s`",
                       why, job_text(text));
}

static const char *const set_operands[] = {"set_contains", "set_contains_all", "set_contains_any",
                                           NULL};
static const char *const comparisons[] = {"=", "==", "is", "!=", "not", "<", "<=", ">", ">=", NULL};
static const char *const presence[] = {"is_set", "is_not_set", NULL};

static void distinct_property_validate(const char *count, struct job_errors *e)
{
    size_t i, n = strlen(job_text(count));
    uint64_t v = 0;

    for (i = 0; i < n; i++) {
        if (!isdigit((unsigned char)count[i])) {
            job_errors_add(e,
                           "Failed to convert RTarget %s to uint64: strconv.ParseUint: parsing %s: "
                           "invalid syntax",
                           JOB_QUOTE(count), JOB_QUOTE(count));
            return;
        }
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(count[i] - '0'), &v)) {
            job_errors_add(e,
                           "Failed to convert RTarget %s to uint64: strconv.ParseUint: parsing %s: "
                           "value out of range",
                           JOB_QUOTE(count), JOB_QUOTE(count));
            return;
        }
    }
    if (n && v < 1)
        job_errors_add(e, "Distinct Property must have an allowed count of 1 or greater: 0 < 1");
}

void job_constraint_validate(const steppe_Constraint *c, struct job_errors *e)
{
    const char *op = job_text(c->operand);

    if (!*op)
        job_errors_add(e, "Missing constraint operand");
    if (job_text_is(op, "distinct_hosts")) {
        return; /* the only one that needs no LTarget */
    } else if (one_of(op, set_operands)) {
        if (job_text_empty(c->r_target))
            job_errors_add(e, "Set contains constraint requires an RTarget");
    } else if (job_text_is(op, "regexp")) {
        regexp_validate(c->r_target, e);
    } else if (job_text_is(op, "version") || job_text_is(op, "semver")) {
        version_validate(c->r_target, *op == 's', "constraint", e);
    } else if (job_text_is(op, "distinct_property")) {
        distinct_property_validate(c->r_target, e);
    } else if (one_of(op, presence)) {
        if (!job_text_empty(c->r_target))
            job_errors_add(e, "Operator %s does not support an RTarget", JOB_QUOTE(op));
    } else if (one_of(op, comparisons)) {
        if (job_text_empty(c->r_target))
            job_errors_add(e, "Operator %s requires an RTarget", JOB_QUOTE(op));
    } else {
        job_errors_add(e, "Unknown constraint type %s", JOB_QUOTE(op));
    }
    if (job_text_empty(c->l_target))
        job_errors_add(e, "No LTarget provided but is required by constraint");
}

void job_affinity_validate(const steppe_Affinity *a, struct job_errors *e)
{
    const char *op = job_text(a->operand);

    if (!*op)
        job_errors_add(e, "Missing affinity operand");
    if (one_of(op, set_operands)) {
        if (job_text_empty(a->r_target))
            job_errors_add(e, "Set contains operators require an RTarget");
    } else if (job_text_is(op, "regexp")) {
        regexp_validate(a->r_target, e);
    } else if (job_text_is(op, "version") || job_text_is(op, "semver")) {
        version_validate(a->r_target, *op == 's', "affinity", e);
    } else if (one_of(op, comparisons)) {
        if (job_text_empty(a->r_target))
            job_errors_add(e, "Operator %s requires an RTarget", JOB_QUOTE(op));
    } else {
        job_errors_add(e, "Unknown affinity operator %s", JOB_QUOTE(op));
    }
    if (job_text_empty(a->l_target))
        job_errors_add(e, "No LTarget provided but is required");
    if (a->weight == 0)
        job_errors_add(e, "Affinity weight cannot be zero");
    if (a->weight > 100 || a->weight < -100)
        job_errors_add(e, "Affinity weight must be within the range [-100,100]");
}

void job_spread_validate(const steppe_Spread *s, struct job_errors *e)
{
    uint32_t sum = 0;
    size_t i, j;

    if (job_text_empty(s->attribute))
        job_errors_add(e, "Missing spread attribute");
    if (s->weight <= 0 || s->weight > 100)
        job_errors_add(e, "Spread stanza must have a positive weight from 0 to 100");
    for (i = 0; i < s->spread_target_count; i++) {
        const steppe_SpreadTarget *t = &s->spread_target[i];

        for (j = 0; j < i; j++)
            if (job_text_is(s->spread_target[j].value, t->value))
                break;
        if (j < i)
            job_errors_add(e, "Spread target value %s already defined", JOB_QUOTE(t->value));
        if (t->percent > 100)
            job_errors_add(e, "Spread target percentage for value %s must be between 0 and 100",
                           JOB_QUOTE(t->value));
        sum += t->percent;
    }
    if (sum > 100)
        job_errors_add(
            e, "Sum of spread target percentages must not be greater than 100%%; got %u%%", sum);
}

void job_constraints_validate(const steppe_Constraint *c, size_t n, struct job_errors *e)
{
    size_t i;

    for (i = 0; i < n; i++) {
        _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;

        job_constraint_validate(&c[i], &one);
        job_errors_nest(e, &one, "Constraint %zu validation failed: ", i + 1);
    }
}

void job_affinities_validate(const steppe_Affinity *a, size_t n, bool system, struct job_errors *e)
{
    size_t i;

    if (system && n)
        job_errors_add(e, "System jobs may not have an affinity stanza");
    for (i = 0; i < n && !system; i++) {
        _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;

        job_affinity_validate(&a[i], &one);
        job_errors_nest(e, &one, "Affinity %zu validation failed: ", i + 1);
    }
}

void job_spreads_validate(const steppe_Spread *s, size_t n, bool system, struct job_errors *e)
{
    size_t i;

    if (system && n)
        job_errors_add(e, "System jobs may not have a spread stanza");
    for (i = 0; i < n && !system; i++) {
        _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;

        job_spread_validate(&s[i], &one);
        job_errors_nest(e, &one, "Spread %zu validation failed: ", i + 1);
    }
}

/* ---- Policies ---- */

void job_update_validate(const steppe_UpdateStrategy *u, struct job_errors *e)
{
    static const char *const health[] = {"checks", "task_states", "manual", NULL};

    if (!one_of(u->health_check, health))
        job_errors_add(e, "Invalid health check given: %s", JOB_QUOTE(u->health_check));
    if (u->max_parallel < 0)
        job_errors_add(e, "Max parallel can not be less than zero: %d < 0", u->max_parallel);
    if (u->canary < 0)
        job_errors_add(e, "Canary count can not be less than zero: %d < 0", u->canary);
    if (u->canary == 0 && u->auto_promote)
        job_errors_add(e, "Auto Promote requires a Canary count greater than zero");
    if (u->min_healthy_time < 0)
        job_errors_add(e, "Minimum healthy time may not be less than zero: %s",
                       DUR(u->min_healthy_time));
    if (u->healthy_deadline <= 0)
        job_errors_add(e, "Healthy deadline must be greater than zero: %s",
                       DUR(u->healthy_deadline));
    if (u->progress_deadline < 0)
        job_errors_add(e, "Progress deadline must be zero or greater: %s",
                       DUR(u->progress_deadline));
    if (u->min_healthy_time >= u->healthy_deadline)
        job_errors_add(e, "Minimum healthy time must be less than healthy deadline: %s > %s",
                       DUR(u->min_healthy_time), DUR(u->healthy_deadline));
    if (u->progress_deadline != 0 && u->healthy_deadline >= u->progress_deadline)
        job_errors_add(e, "Healthy deadline must be less than progress deadline: %s > %s",
                       DUR(u->healthy_deadline), DUR(u->progress_deadline));
    if (u->stagger <= 0)
        job_errors_add(e, "Stagger must be greater than zero: %s", DUR(u->stagger));
}

void job_restart_validate(const steppe_RestartPolicy *r, struct job_errors *e)
{
    int64_t needed;

    if (!job_text_is(r->mode, "delay") && !job_text_is(r->mode, "fail"))
        job_errors_add(e, "Unsupported restart mode: %s", JOB_QUOTE(r->mode));
    if (r->attempts == 0 && !job_text_is(r->mode, "fail"))
        job_errors_add(e, "Restart policy %s with %d attempts is ambiguous", JOB_QUOTE(r->mode),
                       r->attempts);
    if (r->interval < 5 * NS_PER_SEC)
        job_errors_add(e, "Interval can not be less than 5s (got %s)", DUR(r->interval));
    if (__builtin_mul_overflow((int64_t)r->attempts, r->delay, &needed) || needed > r->interval)
        job_errors_add(
            e,
            "Nomad can't restart the TaskGroup %d times in an interval of %s with a delay "
            "of %s",
            r->attempts, DUR(r->interval), DUR(r->delay));
}

void job_migrate_validate(const steppe_MigrateStrategy *m, struct job_errors *e)
{
    if (m->max_parallel < 0)
        job_errors_add(e, "MaxParallel must be >= 0 but found %d", m->max_parallel);
    if (job_text_empty(m->health_check)) {
        if (m->max_parallel > 0)
            job_errors_add(e, "Missing HealthCheck");
    } else if (!job_text_is(m->health_check, "checks") &&
               !job_text_is(m->health_check, "task_states")) {
        job_errors_add(e, "Invalid HealthCheck: %s", JOB_QUOTE(m->health_check));
    }
    if (m->min_healthy_time < 0)
        job_errors_add(e, "MinHealthyTime is %s and must be >= 0", DUR(m->min_healthy_time));
    if (m->healthy_deadline < 0)
        job_errors_add(e, "HealthyDeadline is %s and must be >= 0", DUR(m->healthy_deadline));
    if (m->min_healthy_time > m->healthy_deadline)
        job_errors_add(e, "MinHealthyTime must be less than HealthyDeadline");
}

void job_volume_validate(const steppe_VolumeRequest *v, int canaries, struct job_errors *e)
{
    bool host = job_text_is(v->type, "host");

    if (host && !job_text_empty(v->attachment_mode))
        job_errors_add(e, "host volumes cannot have an attachment mode");
    if (host && !job_text_empty(v->access_mode))
        job_errors_add(e, "host volumes cannot have an access mode");
    if ((job_text_is(v->access_mode, "single-node-reader-only") ||
         job_text_is(v->access_mode, "multi-node-reader-only")) &&
        !v->read_only)
        job_errors_add(e, "%s volumes must be read-only", v->access_mode);
    if (job_text_is(v->attachment_mode, "block-device") && v->has_mount_options)
        job_errors_add(e, "block devices cannot have mount options");
    if (v->per_alloc && canaries > 0)
        job_errors_add(e, "volume cannot be per_alloc when canaries are in use");
    if (job_text_empty(v->source))
        job_errors_add(e, "volume has an empty source");
}
