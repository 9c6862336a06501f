/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses, options and query parameters of the HTTP client. */
#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "flags.h"
#include "text.h"

const char *client_env(const char *name)
{
    static const char *const prefixes[] = {"STEPPE_", "NOMAD_"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        char full[64];
        const char *value;

        snprintf(full, sizeof(full), "%s%s", prefixes[i], name);
        value = getenv(full);
        if (value && *value)
            return value;
    }
    return "";
}

void client_conf_load(struct client_conf *conf, const struct flags *flags)
{
    const struct {
        const char **field, *env, *flag;
    } rows[] = {
        {&conf->address, "ADDR", "address"},
        {&conf->region, "REGION", "region"},
        {&conf->namespace, "NAMESPACE", "namespace"},
        {&conf->token, "TOKEN", "token"},
        {&conf->ca_cert, "CACERT", "ca-cert"},
        {&conf->ca_path, "CAPATH", "ca-path"},
        {&conf->client_cert, "CLIENT_CERT", "client-cert"},
        {&conf->client_key, "CLIENT_KEY", "client-key"},
        {&conf->tls_server_name, "TLS_SERVER_NAME", "tls-server-name"},
    };
    bool skip = false;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *given = flags ? flags_str(flags, rows[i].flag) : "";

        *rows[i].field = *given ? given : client_env(rows[i].env);
    }
    if (!*conf->address)
        conf->address = "http://127.0.0.1:4646";
    conf->http_auth = client_env("HTTP_AUTH");
    conf->insecure = flags_parse_bool(client_env("SKIP_VERIFY"), &skip) && skip;
    if (flags && (flags_bool(flags, "insecure") || flags_bool(flags, "tls-skip-verify")))
        conf->insecure = true;
}

/* What Go's url.Parse refuses in an address; NULL when it is fine. */
static const char *client_address_fault(const char *address)
{
    size_t scheme = strspn(address, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789+-.");

    for (const char *p = address; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return "net/url: invalid control character in URL";
    }
    if (address[0] == ':')
        return "missing protocol scheme";
    if (address[scheme] == ':' && isalpha((unsigned char)address[0]))
        return NULL;
    if (address[strcspn(address, ":/")] == ':')
        return "first path segment in URL cannot contain colon";
    return NULL;
}

/* The file can be read and holds PEM; `none` is said when it holds none. */
static int client_check_pem(const char *path, const char *prefix, const char *none,
                            struct errtext *e)
{
    static const char mark[] = "-----BEGIN ";
    char chunk[4096 + sizeof(mark)];
    size_t kept = 0, n;
    bool found = false;
    FILE *f = fopen(path, "re");

    if (!f)
        return err_set(e, -EINVAL, "%sopen %s: %s", prefix, path,
                       errno == ENOENT ? "no such file or directory" : strerror(errno));
    while (!found && (n = fread(chunk + kept, 1, sizeof(chunk) - kept, f)) > 0) {
        n += kept;
        found = memmem(chunk, n, mark, sizeof(mark) - 1) != NULL;
        kept = MIN(n, sizeof(mark) - 2); /* it may begin in this piece and end in the next */
        memmove(chunk, chunk + n - kept, kept);
    }
    fclose(f);
    return found ? 0 : err_set(e, -EINVAL, "%s%s", prefix, none);
}

/* What Nomad says of certificates before it asks for anything, with http, too. */
static int client_check_tls(const struct client_conf *conf, struct errtext *e)
{
    static const char none[] = "tls: failed to find any PEM data in certificate input";
    const char *cert = conf->client_cert, *key = conf->client_key;
    int r = 0;

    if (!*cert != !*key)
        return err_set(e, -EINVAL, "Both client cert and client key must be provided");
    if (*cert)
        r = client_check_pem(cert, "", none, e);
    if (r == 0 && *key)
        r = client_check_pem(key, "", none, e);
    if (r == 0 && *conf->ca_cert) {
        _cleanup_(freep) char *parse = xasprintf("Couldn't parse PEM in: %s", conf->ca_cert);

        r = client_check_pem(conf->ca_cert, "Error loading CA File: ", parse, e);
    } else if (r == 0 && *conf->ca_path && access(conf->ca_path, F_OK) < 0)
        r = err_set(e, -EINVAL, "lstat %s: no such file or directory", conf->ca_path);
    return r;
}

int client_init(struct client *c, const struct client_conf *conf, struct errtext *e)
{
    const char *fault = client_address_fault(conf->address), *rest, *at;
    const char *colon = strchr(conf->address, ':');
    size_t len;

    *c = (struct client){.conf = *conf};
    if (fault) {
        _cleanup_(freep) char *quoted = text_quote(conf->address);

        return err_set(e, -EINVAL, "invalid address '%s': parse %s: %s", conf->address, quoted,
                       fault);
    }
    if (client_check_tls(conf, e) < 0)
        return -EINVAL;
    c->scheme = xstrndup(conf->address, colon ? (size_t)(colon - conf->address) : 0);
    for (char *p = c->scheme; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    rest = colon && strncmp(colon, "://", 3) == 0 ? colon + 3 : "";
    len = strcspn(rest, "/?#");
    at = memrchr(rest, '@', len);
    if (at) {
        c->user = xstrndup(rest, (size_t)(at - rest));
        len -= (size_t)(at + 1 - rest);
        rest = at + 1;
    } else if (*conf->http_auth) {
        c->user = strchr(conf->http_auth, ':') ? xstrdup(conf->http_auth)
                                               : xasprintf("%s:", conf->http_auth);
    }
    c->host = xstrndup(rest, len);
    return 0;
}

void client_params_add(struct client_params *p, const char *name, const char *value)
{
    assert(p->n < CLIENT_PARAMS_MAX);
    p->p[p->n++] = (struct client_param){xstrdup(name), xstrdup(value)};
}

void client_params_set(struct client_params *p, const char *name, const char *value)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->p[i].name, name) == 0) {
            free(p->p[i].value);
            p->p[i].value = xstrdup(value);
            return;
        }
    }
    client_params_add(p, name, value);
}

void client_params_fini(struct client_params *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->p[i].name);
        free(p->p[i].value);
    }
    p->n = 0;
}

static void client_escape(struct strbuf *b, const char *s, const char *keep, bool plus)
{
    for (; *s; s++) {
        unsigned char ch = (unsigned char)*s;

        if (isalnum(ch) || strchr("-_.~", ch) || strchr(keep, ch))
            strbuf_addc(b, (char)ch);
        else if (plus && ch == ' ')
            strbuf_addc(b, '+');
        else
            strbuf_addf(b, "%%%02X", ch);
    }
}

char *client_params_text(const struct client_params *p)
{
    struct client_param sorted[CLIENT_PARAMS_MAX];
    struct strbuf b = STRBUF_INIT;

    /* By insertion, so that equal names keep their order. */
    for (size_t i = 0; i < p->n; i++) {
        size_t k = i;

        for (; k > 0 && strcmp(sorted[k - 1].name, p->p[i].name) > 0; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = p->p[i];
    }
    for (size_t i = 0; i < p->n; i++) {
        if (i > 0)
            strbuf_addc(&b, '&');
        client_escape(&b, sorted[i].name, "", true);
        strbuf_addc(&b, '=');
        client_escape(&b, sorted[i].value, "", true);
    }
    return strbuf_take(&b);
}

static int client_hex(char ch)
{
    static const char digits[] = "0123456789abcdef";
    const char *p = ch ? strchr(digits, tolower((unsigned char)ch)) : NULL;

    return p ? (int)(p - digits) : -1;
}

char *client_unescape(const char *s, size_t len)
{
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < len; i++) {
        bool escape =
            s[i] == '%' && len - i > 2 && client_hex(s[i + 1]) >= 0 && client_hex(s[i + 2]) >= 0;

        if (escape) {
            strbuf_addc(&b, (char)(client_hex(s[i + 1]) << 4 | client_hex(s[i + 2])));
            i += 2;
        } else
            strbuf_addc(&b, s[i] == '+' ? ' ' : s[i]);
    }
    return strbuf_take(&b);
}

char *client_escape_path(const char *segment)
{
    struct strbuf b = STRBUF_INIT;

    client_escape(&b, segment, "$&+=:@", false);
    return strbuf_take(&b);
}
