/* SPDX-License-Identifier: MPL-2.0 */
#include "coord.h"

#include <math.h>
#include <string.h>

#include "messages.h"

#define ERROR_MAX   1.5
#define TUNE_ERROR  0.25
#define TUNE_COORD  0.25
#define HEIGHT_MIN  1e-5
#define GRAVITY_RHO 150.0
#define ZERO        1e-6
#define RTT_MAX     10.0
#define FORMAT      1

void coord_init(struct coord *c)
{
    *c = (struct coord){.error = ERROR_MAX, .height = HEIGHT_MIN};
}

void coord_self_init(struct coord_self *self)
{
    memset(self, 0, sizeof(*self));
    coord_init(&self->at);
}

static bool coord_valid(const struct coord *c)
{
    bool ok = isfinite(c->error) && isfinite(c->adjustment) && isfinite(c->height);

    for (int i = 0; i < COORD_DIMENSIONS; i++)
        ok = ok && isfinite(c->vec[i]);
    return ok;
}

static double magnitude(const double *v)
{
    double sum = 0;

    for (int i = 0; i < COORD_DIMENSIONS; i++)
        sum += v[i] * v[i];
    return sqrt(sum);
}

static double raw_distance(const struct coord *a, const struct coord *b)
{
    double d[COORD_DIMENSIONS];

    for (int i = 0; i < COORD_DIMENSIONS; i++)
        d[i] = a->vec[i] - b->vec[i];
    return magnitude(d) + a->height + b->height;
}

double coord_distance(const struct coord *a, const struct coord *b)
{
    double raw = raw_distance(a, b), adjusted = raw + a->adjustment + b->adjustment;

    return adjusted > 0 ? adjusted : raw;
}

static void apply_force(struct coord *c, double force, const struct coord *other, struct prng *prng)
{
    double unit[COORD_DIMENSIONS], m;

    for (int i = 0; i < COORD_DIMENSIONS; i++)
        unit[i] = c->vec[i] - other->vec[i];
    m = magnitude(unit);
    if (m <= ZERO) {
        for (int i = 0; i < COORD_DIMENSIONS; i++)
            unit[i] = prng_double(prng) - 0.5;
        m = magnitude(unit);
        for (int i = 0; i < COORD_DIMENSIONS; i++)
            unit[i] = m > ZERO ? unit[i] / m : i == 0;
        m = 0;
    } else {
        for (int i = 0; i < COORD_DIMENSIONS; i++)
            unit[i] /= m;
    }
    for (int i = 0; i < COORD_DIMENSIONS; i++)
        c->vec[i] += force * unit[i];
    if (m > ZERO)
        c->height = fmax((c->height + other->height) * force / m + c->height, HEIGHT_MIN);
}

/* The median of the peer's last round trips, this one included. */
static double filter_rtt(struct coord_peer *peer, double rtt)
{
    double v[COORD_FILTER];
    unsigned n;

    peer->rtt[peer->n_rtt++ % COORD_FILTER] = rtt;
    n = MIN(peer->n_rtt, (unsigned)COORD_FILTER);
    memcpy(v, peer->rtt, sizeof(v));
    for (unsigned i = 1; i < n; i++) {
        for (unsigned j = i; j > 0 && v[j] < v[j - 1]; j--) {
            double t = v[j];

            v[j] = v[j - 1];
            v[j - 1] = t;
        }
    }
    return v[n / 2];
}

bool coord_update(struct coord_self *self, struct coord_peer *peer, const struct coord *theirs,
                  double rtt, struct prng *prng)
{
    struct coord *c = &self->at, origin;
    double r, wrong, total, weight, sum = 0, g;

    if (!coord_valid(theirs) || !(rtt >= 0 && rtt <= RTT_MAX))
        return false;
    coord_init(&origin);
    peer->at = *theirs;
    r = fmax(filter_rtt(peer, rtt), ZERO);
    wrong = fabs(coord_distance(c, theirs) - r) / r;
    total = fmax(c->error + theirs->error, ZERO);
    weight = c->error / total;
    c->error = fmin(ERROR_MAX, TUNE_ERROR * weight * wrong + c->error * (1 - TUNE_ERROR * weight));
    apply_force(c, TUNE_COORD * weight * (r - coord_distance(c, theirs)), theirs, prng);
    self->window[self->next++ % COORD_WINDOW] = r - raw_distance(c, theirs);
    for (int i = 0; i < COORD_WINDOW; i++)
        sum += self->window[i];
    c->adjustment = sum / (2 * COORD_WINDOW);
    g = coord_distance(&origin, c) / GRAVITY_RHO;
    apply_force(c, -(g * g), &origin, prng);
    if (!coord_valid(c)) {
        unsigned resets = self->resets + 1;

        coord_self_init(self);
        self->resets = resets;
        return false;
    }
    return true;
}

void coord_put(struct strbuf *out, const struct coord *c)
{
    struct msg_coordinate m = {c->error, c->adjustment, c->height, {NULL, 0}};
    struct strbuf vec = STRBUF_INIT;

    mp_put_list(&vec, COORD_DIMENSIONS);
    for (int i = 0; i < COORD_DIMENSIONS; i++)
        mp_put_f64(&vec, c->vec[i]);
    m.vec = span_of(&vec);
    msg_put(out, FORMAT, &msg_coordinate_schema, &m);
    strbuf_fini(&vec);
}

bool coord_get(struct span payload, struct coord *ret)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_coordinate m;
    struct mp_reader r;
    uint32_t n = 0;

    if (payload.len < 2 || payload.p[0] != FORMAT)
        return false;
    payload = (struct span){payload.p + 1, payload.len - 1};
    if (!msg_get(payload, &msg_coordinate_schema, &m, &scratch) || !m.vec.p)
        return false;
    r = mp_reader_of(m.vec);
    if (mp_get_list(&r, &n) || n != COORD_DIMENSIONS)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (mp_get_f64(&r, &ret->vec[i]))
            return false;
    }
    ret->error = m.error;
    ret->adjustment = m.adjustment;
    ret->height = m.height;
    return coord_valid(ret);
}
