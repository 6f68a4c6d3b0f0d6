/* config/option_value.c: one value of an option: its text as what the member holds. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/document.h"

enum { CHOICES_MAX = 32 };

size_t option_value_size(uint32_t type)
{
    static const size_t sizes[] = {
        [WEIR_T_BOOL] = sizeof(bool),        [WEIR_T_CHOICE] = sizeof(int),
        [WEIR_T_INT] = sizeof(int64_t),      [WEIR_T_FLOAT] = sizeof(double),
        [WEIR_T_TEXT] = sizeof(char *),      [WEIR_T_DURATION] = sizeof(weir_duration),
        [WEIR_T_SIZE] = sizeof(weir_size),   [WEIR_T_STRINGS] = sizeof(weir_strings),
        [WEIR_T_PAIRS] = sizeof(weir_pairs), [WEIR_T_SECRET] = sizeof(weir_secret *),
        [WEIR_T_JSON] = sizeof(weir_json),   [WEIR_T_BLOCK] = sizeof(weir_block),
        [WEIR_T_LIST] = sizeof(weir_list),   [WEIR_T_MAP] = sizeof(weir_map),
        [WEIR_T_SERVICE] = sizeof(void *),   [WEIR_T_SERVICES] = sizeof(weir_services),
    };
    return type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

static void wrong(struct fill *f, const struct node *n, const char *help, const char *expected)
{
    diag_add(f->d, DIAG_ERROR, n, help, "expected %s, found %s", expected, node_show(f->d, n));
}

bool option_value_is_kind(struct fill *f, const struct node *n, enum node_kind kind)
{
    static const char *const names[] = {"no value", "a single value", "a list", "a map"};
    if (n->kind == kind)
        return !node_is_broken(n);
    if (node_is_broken(n))
        return false;
    const char *help = n->kind == NODE_NULL ? "write a value, or remove the key" : NULL;
    wrong(f, n, help, names[kind]);
    return false;
}

/* ---- limits ---- */

static const char *limit_text(struct fill *f, double value)
{
    char text[64];
    switch (f->row->type) {
    case WEIR_T_DURATION:
        unit_format_duration((int64_t)value, text, sizeof text);
        break;
    case WEIR_T_SIZE:
        unit_format_size((uint64_t)value, text, sizeof text);
        break;
    default:
        (void)snprintf(text, sizeof text, "%.15g", value);
        break;
    }
    return arena_text(&f->d->arena, text);
}

/* What min and max count, for what is not a quantity itself. */
static const char *limit_unit(const struct fill *f)
{
    switch (f->row->type) {
    case WEIR_T_TEXT:
        return " bytes long";
    case WEIR_T_STRINGS:
    case WEIR_T_PAIRS:
    case WEIR_T_LIST:
    case WEIR_T_MAP:
        return " entries long";
    default:
        return "";
    }
}

void option_value_limits(struct fill *f, const struct node *n, double value)
{
    const weir_option *row = f->row;
    if (!(row->max > row->min) || (value >= row->min && value <= row->max))
        return;
    const char *unit = limit_unit(f);
    const char *found = n->is_secret ? "a secret value" : limit_text(f, value);
    bool has_max = row->max<9e18, has_min = row->min> - 9e18;
    if (has_max && has_min)
        diag_add(f->d, DIAG_ERROR, n, NULL, "must be between %s and %s%s, found %s",
                 limit_text(f, row->min), limit_text(f, row->max), unit, found);
    else
        diag_add(f->d, DIAG_ERROR, n, NULL, "must be at %s %s%s, found %s",
                 has_max ? "most" : "least", limit_text(f, has_max ? row->max : row->min), unit,
                 found);
}

/* ---- single values ---- */

static void put_bool(struct fill *f, struct node *n, bool *out)
{
    bool is_true = strcmp(n->text, "true") == 0;
    if (is_true || strcmp(n->text, "false") == 0) {
        *out = is_true;
        return;
    }
    static const char *const trues[] = {"yes", "on", "True", "TRUE", "Yes", "On", "1", "y"};
    static const char *const falses[] = {"no", "off", "False", "FALSE", "No", "Off", "0", "n"};
    const char *help = NULL;
    for (size_t i = 0; i < sizeof trues / sizeof *trues; i++)
        help = strcmp(n->text, trues[i]) == 0    ? "write true"
               : strcmp(n->text, falses[i]) == 0 ? "write false"
                                                 : help;
    wrong(f, n, help, "true or false");
}

static const char *join_choices(struct document *d, const char *const *names)
{
    struct buf b = {0};
    for (size_t i = 0; names[i]; i++)
        buf_print(&b, "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
    const char *text = arena_text(&d->arena, buf_text(&b));
    buf_fini(&b);
    return text;
}

static void put_choice(struct fill *f, struct node *n, int *out)
{
    const char *names[CHOICES_MAX + 1] = {0};
    char *rest = arena_text(&f->d->arena, f->row->choices), *name;
    for (int i = 0; i < CHOICES_MAX && (name = strsep(&rest, "|")); i++) {
        names[i] = name;
        if (strcmp(name, n->text) != 0)
            continue;
        *out = i;
        return;
    }
    const char *nearest = n->is_secret ? NULL : text_nearest(n->text, names);
    const char *help = nearest ? arena_format(&f->d->arena, "did you mean \"%s\"?", nearest) : NULL;
    wrong(f, n, help, join_choices(f->d, names));
}

static void put_int(struct fill *f, struct node *n, int64_t *out)
{
    const char *digits = n->text + (*n->text == '-' || *n->text == '+');
    size_t count = strspn(digits, "0123456789");
    errno = 0;
    long long value = strtoll(n->text, NULL, 10);
    if (!count || digits[count]) {
        wrong(f, n, NULL, "a whole number");
        return;
    }
    if (errno) {
        wrong(f, n, NULL, "a whole number of 64 bits");
        return;
    }
    *out = value;
    option_value_limits(f, n, (double)value);
}

static void put_float(struct fill *f, struct node *n, double *out)
{
    char *end;
    bool is_plain_number = n->len && strspn(n->text, "0123456789+-.eE") == n->len;
    double value = strtod(n->text, &end);
    if (!is_plain_number || *end || !isfinite(value)) {
        wrong(f, n, NULL, "a number");
        return;
    }
    *out = value;
    option_value_limits(f, n, value);
}

void option_value_address(struct document *d, const struct node *n, const char *text)
{
    weir_str host;
    unsigned port;
    const char *help = "as in 127.0.0.1:3000, [::1]:3000 or unix:/run/weir.sock; port 0 picks one";
    if (strncmp(text, "unix:", 5) == 0 ? text[5] != '\0' : text_address(text, &host, &port))
        return;
    diag_add(d, DIAG_ERROR, n, help, "expected an address, host:port, found %s", node_show(d, n));
    d->harmless++;
}

static void put_text(struct fill *f, struct node *n, const char **out)
{
    *out = n->text;
    if (strlen(n->text) != n->len)
        diag_add(f->d, DIAG_ERROR, n, NULL, "a text must not hold a NUL byte");
    else
        option_value_limits(f, n, (double)n->len);
    if (f->row->format == WEIR_FORMAT_ADDRESS)
        option_value_address(f->d, n, n->text);
}

/* What the size was likely meant to be: a bare number, or one with a unit that may mean two. */
static const char *size_help(struct fill *f, const struct node *n)
{
    int digits = (int)strspn(n->text, "0123456789");
    char unit = n->text[digits];
    if (!digits || (unit && n->text[digits + 1]) || !strchr("KMGTkmgt", unit))
        return "units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB";
    if (!unit)
        return arena_format(&f->d->arena, "a unit is due: write %sKiB or %sMiB", n->text, n->text);
    unit = (char)(unit & ~0x20);
    return arena_format(&f->d->arena, "write %.*s%ciB (1024) or %.*s%cB (1000)", digits, n->text,
                        unit, digits, n->text, unit);
}

static const char *duration_help(struct fill *f, const struct node *n)
{
    if (n->len && strspn(n->text, "0123456789") == n->len)
        return arena_format(&f->d->arena, "a unit is due: write %ss", n->text);
    return "units are ns, us, ms, s, m, h and d";
}

static void put_duration(struct fill *f, struct node *n, weir_duration *out)
{
    if (unit_parse_duration((weir_str){n->text, n->len}, &out->ns))
        option_value_limits(f, n, (double)out->ns);
    else
        wrong(f, n, n->is_secret ? NULL : duration_help(f, n),
              "a duration such as 250ms, 30s or 1h30m");
}

static void put_size(struct fill *f, struct node *n, weir_size *out)
{
    if (unit_parse_size((weir_str){n->text, n->len}, &out->bytes))
        option_value_limits(f, n, (double)out->bytes);
    else
        wrong(f, n, n->is_secret ? NULL : size_help(f, n), "a size such as 512B, 64KiB or 5MB");
}

void option_value_scalar(struct fill *f, struct node *n, void *member)
{
    if (!option_value_is_kind(f, n, NODE_SCALAR))
        return;
    switch (f->row->type) {
    case WEIR_T_BOOL:
        put_bool(f, n, member);
        break;
    case WEIR_T_CHOICE:
        put_choice(f, n, member);
        break;
    case WEIR_T_INT:
        put_int(f, n, member);
        break;
    case WEIR_T_FLOAT:
        put_float(f, n, member);
        break;
    case WEIR_T_TEXT:
        put_text(f, n, member);
        break;
    case WEIR_T_DURATION:
        put_duration(f, n, member);
        break;
    case WEIR_T_SIZE:
        put_size(f, n, member);
        break;
    default:
        break;
    }
}

/* ---- several ---- */

void option_value_strings(struct fill *f, struct node *n, weir_strings *out)
{
    bool is_one = n->kind == NODE_SCALAR;
    if (n->kind == NODE_NULL || (!is_one && !option_value_is_kind(f, n, NODE_LIST)))
        return;
    size_t count = is_one ? 1 : n->count;
    const char **items = arena_take(&f->d->arena, (count + 1) * sizeof *items);
    for (size_t i = 0; i < count; i++) {
        struct node *item = is_one ? n : n->items[i];
        items[i] = item->kind == NODE_SCALAR ? item->text : "";
        places_add(f->places, &items[i], item);
        places_add(f->places, items[i], item);
        if (!option_value_is_kind(f, item, NODE_SCALAR))
            continue;
        if (strlen(item->text) != item->len)
            diag_add(f->d, DIAG_ERROR, item, NULL, "a text must not hold a NUL byte");
    }
    *out = (weir_strings){count, items};
    option_value_limits(f, n, (double)count);
}

void option_value_pairs(struct fill *f, struct node *n, weir_pairs *out)
{
    if (n->kind == NODE_NULL || !option_value_is_kind(f, n, NODE_MAP))
        return;
    weir_attr *items = arena_take(&f->d->arena, (n->count + 1) * sizeof *items);
    for (size_t i = 0; i < n->count; i++) {
        const struct node *key = n->keys[i], *value = n->items[i];
        items[i].key = (weir_str){key->text, key->len};
        places_add(f->places, &items[i].key, key);
        places_add(f->places, &items[i].value, value);
        if (option_value_is_kind(f, value, NODE_SCALAR))
            items[i].value = (weir_str){value->text, value->len};
    }
    *out = (weir_pairs){n->count, items};
    option_value_limits(f, n, (double)n->count);
}

/* ---- secrets ---- */

static void check_env(struct fill *f, const struct node *n)
{
    if (document_env(f->d, n->text))
        return;
    diag_add(f->d, DIAG_ERROR, n, "set it, or name a file: { file: /run/secrets/... }",
             "the variable %s is not set", n->is_secret ? "named there" : n->text);
}

static void check_file(struct fill *f, const struct node *n, weir_secret *s)
{
    struct buf value = {0};
    struct error e = {0};
    s->file = arena_text(&f->d->arena, document_path(f->d, s->file));
    if (secret_read(s, &value, &e))
        diag_add(f->d, DIAG_ERROR, n, NULL, "cannot read %s",
                 n->is_secret ? "the file named there" : e.text);
    buf_fini(&value);
}

void option_value_secret(struct fill *f, struct node *n, const weir_secret **out)
{
    static const char *const help = "write { env: NAME } or { file: /run/secrets/name }";
    if (n->kind == NODE_SCALAR) {
        n->is_secret = true;
        diag_add(f->d, DIAG_ERROR, n, help, "a secret does not stand in the pipeline file itself");
        return;
    }
    if (!option_value_is_kind(f, n, NODE_MAP))
        return;
    struct node *env = node_get(n, "env"), *file = node_get(n, "file"), *one = env ? env : file;
    if (!one || n->count != 1) {
        diag_add(f->d, DIAG_ERROR, n, help,
                 "a secret is named by env or by file, and by one of them");
        return;
    }
    if (!option_value_is_kind(f, one, NODE_SCALAR))
        return;
    weir_secret *s = arena_take(&f->d->arena, sizeof *s);
    *out = s;
    s->env = env ? env->text : NULL;
    s->file = file ? file->text : NULL;
    if (env)
        check_env(f, env);
    else
        check_file(f, file, s);
}
