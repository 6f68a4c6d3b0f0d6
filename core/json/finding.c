/* json/finding.c: what violates a schema: where it stands, as a pointer, and in the order of the text. */
#include <string.h>

#include "json/walk.h"

static size_t pointer_bytes(const struct frame *f)
{
    size_t n = 0;
    for (; f; f = f->up)
        n += f->key.ptr ? 1 + 2 * f->key.len : 21;
    return n;
}

static char *put_frame(struct run *r, char *out, const struct frame *f)
{
    if (!f)
        return out;
    out = put_frame(r, out, f->up);
    *out++ = '/';
    if (!f->key.ptr) {
        char digits[20];
        size_t at = sizeof digits, index = f->index;
        do
            digits[--at] = (char)('0' + index % 10);
        while (index /= 10);
        return mempcpy(out, digits + at, sizeof digits - at);
    }
    weir_str key = f->is_plain ? f->key : json_unquote(f->key, r->scratch);
    for (size_t i = 0; i < key.len; i++) {
        *out = key.ptr[i];
        if (*out == '~' || *out == '/') {
            out[1] = *out == '~' ? '0' : '1';
            *out++ = '~';
        }
        out++;
    }
    return out;
}

static weir_str pointer_of(struct run *r, const struct frame *f)
{
    char *text = arena_take_raw(r->scratch, pointer_bytes(f) + 1);
    char *end = put_frame(r, text, f);
    *end = 0;
    return (weir_str){text, (size_t)(end - text)};
}

void finding_add(struct run *r, const char *at, const char *keyword, const char *message)
{
    if (!r->findings)
        r->findings = arena_take_raw(r->scratch, FINDINGS_MAX * sizeof *r->findings);
    r->findings[r->count - 1] = (struct finding){{pointer_of(r, r->frame), keyword, message}, at};
}

bool finding_tell_of(struct run *r, weir_str key, const char *at, const char *keyword,
                     const char *message)
{
    struct frame frame = {r->frame, key, 0, true};
    r->frame = &frame;
    (void)finding_tell(r, at, keyword, message);
    r->frame = frame.up;
    return false;
}

/* Stable: what was met first at one place stays first. At most FINDINGS_MAX, most of them in order. */
void finding_sort(struct finding *findings, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct finding f = findings[i];
        size_t k = i;
        for (; k > 0 && findings[k - 1].at > f.at; k--)
            findings[k] = findings[k - 1];
        findings[k] = f;
    }
}
