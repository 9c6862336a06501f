/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of Connect's gateways. The first thing that is wrong is the answer. */
#include <string.h>

#include "job_validate.h"

static const char *proxy_error(const steppe_ConsulGatewayProxy *p)
{
    const char *dns = job_text(p->envoy_dns_discovery_type);

    if (!p->has_connect_timeout)
        return "Consul Gateway Proxy connection_timeout must be set";
    if (*dns && strcmp(dns, "STRICT_DNS") != 0 && strcmp(dns, "LOGICAL_DNS") != 0)
        return "Consul Gateway Proxy Envoy DNS Discovery type must be STRICT_DNS or LOGICAL_DNS";
    for (size_t i = 0; i < p->envoy_gateway_bind_addresses_count; i++) {
        const steppe_ConsulGatewayBindAddress *a = &p->envoy_gateway_bind_addresses[i].value;

        if (job_text_empty(a->address))
            return "Consul Gateway Bind Address must be set";
        if (a->port <= 0 && a->port != -1)
            return "Consul Gateway Bind Address must set valid Port";
    }
    return NULL;
}

static const char *ingress_service_error(const steppe_ConsulIngressService *s, bool http)
{
    bool any = job_text_is(s->name, "*");

    if (job_text_empty(s->name))
        return "Consul Ingress Service requires a name";
    if (http && !any && s->hosts_count == 0)
        return "Consul Ingress Service requires one or more hosts when using HTTP protocol";
    if (!http && any)
        return "Consul Ingress Service supports wildcard names only with HTTP protocol";
    if (!http && s->hosts_count > 0)
        return "Consul Ingress Service supports hosts only when using HTTP protocol";
    return NULL;
}

static const char *listener_error(const steppe_ConsulIngressListener *l, struct job_errors *e)
{
    bool http = job_text_is(l->protocol, "http");
    const char *why = NULL;

    if (l->port <= 0)
        return "Consul Ingress Listener requires valid Port";
    if (!http && !job_text_is(l->protocol, "tcp")) {
        job_errors_add(e,
                       "Consul Ingress Listener requires protocol of \"http\" or \"tcp\", got %s",
                       JOB_QUOTE(l->protocol));
        return ""; /* said */
    }
    if (l->services_count == 0)
        return "Consul Ingress Listener requires one or more services";
    for (size_t i = 0; !why && i < l->services_count; i++)
        why = ingress_service_error(&l->services[i], http);
    return why;
}

static const char *ingress_error(const steppe_ConsulIngressConfigEntry *g, struct job_errors *e)
{
    const char *why = NULL;

    if (g->listeners_count == 0)
        return "Consul Ingress Gateway requires at least one listener";
    for (size_t i = 0; !why && i < g->listeners_count; i++)
        why = listener_error(&g->listeners[i], e);
    return why;
}

static const char *terminating_error(const steppe_ConsulTerminatingConfigEntry *t)
{
    if (t->services_count == 0)
        return "Consul Terminating Gateway requires at least one service";
    for (size_t i = 0; i < t->services_count; i++) {
        const steppe_ConsulLinkedService *s = &t->services[i];
        bool ca = !job_text_empty(s->ca_file), cert = !job_text_empty(s->cert_file),
             key = !job_text_empty(s->key_file);

        if (job_text_empty(s->name))
            return "Consul Linked Service requires Name";
        if ((cert || key) && !ca)
            return "Consul Linked Service TLS requires CAFile";
        if (cert != key)
            return "Consul Linked Service TLS Cert and Key must both be set";
        if (!job_text_empty(s->sni) && !ca)
            return "Consul Linked Service TLS SNI requires CAFile";
    }
    return NULL;
}

void job_gateway_validate(const steppe_ConsulGateway *g, struct job_errors *e)
{
    const char *why = g->has_proxy ? proxy_error(&g->proxy) : NULL;

    if (!why && g->has_ingress)
        why = ingress_error(&g->ingress, e);
    if (!why && g->has_terminating)
        why = terminating_error(&g->terminating);
    if (!why && g->has_ingress == g->has_terminating)
        why = "One Consul Gateway Configuration Entry must be set";
    if (why && *why)
        job_errors_add(e, "%s", why);
}
