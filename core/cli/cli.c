/* cli/cli.c: commands, their options and their help. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/plugin_command.h"
#include "config/config.h"

struct cli_common cli_common;

bool cli_has_color(FILE *out)
{
    const char *no_color = getenv("NO_COLOR"); /* NOLINT(concurrency-mt-unsafe) */
    return !cli_common.no_color && !(no_color && *no_color) && isatty(fileno(out));
}

/* How many bytes of the text, which is not empty, a terminal may get as they are: a whole character. */
static size_t plain_length(weir_str text)
{
    unsigned char c = (unsigned char)text.ptr[0];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c < 0x80)
        return (c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n';
    bool is_control = c == 0xc2 && text.len > 1 && (unsigned char)text.ptr[1] < 0xa0;
    return !is_control && n <= text.len && text_is_utf8((weir_str){text.ptr, n}) ? n : 0;
}

void cli_print(weir_str text, bool is_raw)
{
    if (text.len && (is_raw || !isatty(STDOUT_FILENO))) {
        (void)fwrite(text.ptr, 1, text.len, stdout); /* it may hold NUL */
        return;
    }
    while (text.len) {
        size_t n = plain_length(text);
        if (n)
            (void)fwrite(text.ptr, 1, n, stdout);
        else
            (void)printf("\\x%02x", (unsigned)(unsigned char)text.ptr[0]);
        n += !n;
        text = (weir_str){text.ptr + n, text.len - n};
    }
}

bool cli_read_time(const char *text, int64_t *wall_ns)
{
    int64_t ago = 0;
    if (clock_parse(weir_text(text), wall_ns) == WEIR_OK)
        return *wall_ns > 0;
    if (strcmp(text, "now") != 0 && !unit_parse_duration(weir_text(text + (*text == '-')), &ago))
        return false;
    *wall_ns = clock_wall(&clock_real) - ago;
    return *wall_ns > 0;
}

bool cli_read_rate(const char *text, double *per_s)
{
    char *end = NULL;
    *per_s = strtod(text, &end);
    if (strcmp(end, "/m") == 0)
        *per_s /= 60;
    else if (strcmp(end, "/h") == 0)
        *per_s /= 3600;
    else if (*end && strcmp(end, "/s") != 0)
        return false;
    return end != text && *per_s > 0 && *per_s < 1e9;
}

int cli_fail(const struct error *e)
{
    bool color = cli_has_color(stderr);
    (void)fprintf(stderr, "%sweir: error:%s %s\n", color ? "\033[31m" : "", color ? "\033[0m" : "",
                  e->text);
    return e->code;
}

int cli_usage_error(const struct cli_command *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "weir %s: ", c->name);
    (void)vfprintf(stderr, fmt, args);
    (void)fprintf(stderr, "\nusage: weir %s %s\ntry: weir %s --help\n", c->name, c->usage, c->name);
    va_end(args);
    return EXIT_USAGE_ERROR;
}

static void print_option(const struct cli_option *o)
{
    char left[64];
    (void)snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
                   o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
                   o->value ? " " : "", o->value ? o->value : "");
    (void)printf("  %-28s %s\n", left, o->help);
}

static const struct cli_option common_options[] = {
    {"help", 'h', NULL, "this text", CLI_FLAG, offsetof(struct cli_common, help)},
    {"no-color", 0, NULL, "plain output, as with NO_COLOR set", CLI_FLAG,
     offsetof(struct cli_common, no_color)},
    {0},
};

static int print_help(const struct cli_command *c)
{
    (void)printf("%s\n\nusage: weir %s %s\n\noptions:\n", c->summary, c->name, c->usage);
    for (const struct cli_option *o = c->options; o && o->name; o++)
        print_option(o);
    for (const struct cli_option *o = common_options; o->name; o++)
        print_option(o);
    if (c->details)
        (void)printf("\n%s\n", c->details);
    return EXIT_OK;
}

static int print_commands(FILE *out)
{
    (void)fputs("weir: moves business events through plugins without losing any\n\n"
                "usage: weir COMMAND [OPTIONS] [ARGUMENTS]\n\ncommands:\n",
                out);
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        (void)fprintf(out, "  %-13s %s\n", (*c)->name, (*c)->summary);
    plugin_command_list(out);
    (void)
        fputs("\n`weir COMMAND --help` has more on each. The pipeline file is the argument, else\n"
              "$WEIR_CONFIG, ./pipeline.yaml, /etc/weir/pipeline.yaml.\n",
              out);
    return out == stdout ? EXIT_OK : EXIT_USAGE_ERROR;
}

static const struct cli_option *find_long(const struct cli_option *table, weir_str name)
{
    for (; table && table->name; table++)
        if (weir_same(name, table->name))
            return table;
    return NULL;
}

static const struct cli_option *find_short(const struct cli_option *table, char letter)
{
    for (; table && table->name; table++)
        if (table->letter && table->letter == letter)
            return table;
    return NULL;
}

static bool store(const struct cli_option *o, void *base, const char *value)
{
    void *at = (char *)base + o->offset;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)at = true;
        return true;
    case CLI_TEXT:
        *(const char **)at = value;
        return true;
    case CLI_LIST: {
        struct cli_list *list = at;
        list->items = mem_grow(list->items, (list->count + 2) * sizeof *list->items);
        list->items[list->count++] = value;
        list->items[list->count] = NULL;
        return true;
    }
    case CLI_NUMBER:
    case CLI_COUNT: {
        uint64_t n = 0;
        bool ok = text_to_u64(weir_text(value), &n) && n <= INT64_MAX;
        ok = ok && (n || o->kind == CLI_NUMBER);
        *(int64_t *)at = (int64_t)n;
        return ok;
    }
    }
    return false;
}

struct parsing {
    const struct cli_command *command;
    void *options;
    int argc, next;
    char **argv;
    char **arguments;
    int argument_count;
    const struct cli_option **given;
    size_t given_count;
};

static int unknown_option(const struct parsing *p, const char *text)
{
    const char *words[64];
    size_t n = 0;
    for (const struct cli_option *o = p->command->options; o && o->name && n < 60; o++)
        words[n++] = o->name;
    words[n++] = "help";
    words[n] = NULL;
    const char *near = text_nearest(text + strspn(text, "-"), words);
    return cli_usage_error(p->command, "unknown option %s%s%s%s", text,
                           near ? ": did you mean --" : "", near ? near : "", near ? "?" : "");
}

static int take_option(struct parsing *p, const struct cli_option *o, void *base, const char *text,
                       const char *value)
{
    if (o->kind == CLI_FLAG && value)
        return cli_usage_error(p->command, "%s takes no value", text);
    if (o->kind != CLI_FLAG && !value) {
        if (p->next >= p->argc)
            return cli_usage_error(p->command, "%s needs a value: %s", text, o->value);
        value = p->argv[p->next++];
    }
    if (!store(o, base, value))
        return cli_usage_error(p->command, "%s needs a whole number%s, found %s", text,
                               o->kind == CLI_COUNT ? " of at least 1" : "", value);
    return 0;
}

static int parse_option(struct parsing *p, const char *text)
{
    bool is_long = text[1] == '-';
    const char *equals = is_long ? strchr(text, '=') : NULL;
    const char *value = equals ? equals + 1 : NULL;
    weir_str name = {text + 2,
                     equals ? (size_t)(equals - text - 2) : strlen(text) - (is_long ? 2 : 1)};
    const struct cli_option *o =
        is_long ? find_long(p->command->options, name) : find_short(p->command->options, text[1]);
    if (!is_long && text[2])
        value = text + 2;
    if (o)
        p->given[p->given_count++] = o;
    if (o)
        return take_option(p, o, p->options, text, value);
    o = is_long ? find_long(common_options, name) : find_short(common_options, text[1]);
    return o ? take_option(p, o, &cli_common, text, value) : unknown_option(p, text);
}

static int parse(struct parsing *p)
{
    bool only_arguments = false;
    while (p->next < p->argc) {
        char *text = p->argv[p->next++];
        if (!only_arguments && strcmp(text, "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && text[0] == '-' && text[1]) {
            int failed = parse_option(p, text);
            if (failed)
                return failed;
        } else {
            p->arguments[p->argument_count++] = text;
        }
    }
    return 0;
}

static bool has_action(const struct cli_command *c, weir_str name)
{
    for (const char *const *a = c->actions; a && *a; a++)
        if (weir_same(name, *a))
            return true;
    return false;
}

/* How much of the help names actions, each followed by a comma, the last by a colon; 0: none. */
static size_t actions_length(const struct cli_command *c, const char *help)
{
    for (const char *at = help;; at += 2) {
        size_t n = strcspn(at, ",: ");
        if (!has_action(c, (weir_str){at, n}) || !at[n])
            return 0;
        at += n;
        if (at[0] == ':')
            return (size_t)(at - help);
        if (at[0] != ',' || at[1] != ' ')
            return 0;
    }
}

static bool is_named(weir_str actions, const char *action)
{
    size_t n = strlen(action);
    for (size_t i = 0; i + n <= actions.len; i++)
        if ((i == 0 || actions.ptr[i - 1] == ' ') && strncmp(actions.ptr + i, action, n) == 0 &&
            (i + n == actions.len || actions.ptr[i + n] == ','))
            return true;
    return false;
}

/* An option of another action is not passed over: `purge NAME -n 5` would remove all. */
static int check_actions(const struct parsing *p)
{
    const struct cli_command *c = p->command;
    if (!c->actions || (p->argument_count && !has_action(c, weir_text(p->arguments[0]))))
        return 0;
    const char *action = p->argument_count ? p->arguments[0] : c->actions[0];
    for (size_t i = 0; i < p->given_count; i++) {
        weir_str its = {p->given[i]->help, actions_length(c, p->given[i]->help)};
        if (its.len && !is_named(its, action))
            return cli_usage_error(c, "--%s is not for %s, only for %.*s", p->given[i]->name,
                                   action, (int)its.len, its.ptr);
    }
    return 0;
}

int cli_run(const struct cli_command *c, int argc, char **argv)
{
    struct parsing p = {.command = c, .argc = argc, .argv = argv};
    p.options = mem_new(c->size ? c->size : 1);
    p.arguments = mem_new(((size_t)argc + 1) * sizeof(char *));
    p.given = mem_new(((size_t)argc + 1) * sizeof(struct cli_option *));
    int code = parse(&p);
    if (!code && cli_common.help)
        code = print_help(c);
    else if (!code && p.argument_count < c->arguments_min)
        code = cli_usage_error(c, "too few arguments");
    else if (!code && c->arguments_max >= 0 && p.argument_count > c->arguments_max)
        code = cli_usage_error(c, "too many arguments: %s", p.arguments[c->arguments_max]);
    else if (!code && (code = check_actions(&p)) == 0)
        code = c->run(p.options, p.argument_count, p.arguments);
    for (const struct cli_option *o = c->options; o && o->name; o++)
        if (o->kind == CLI_LIST)
            mem_free(((struct cli_list *)(void *)((char *)p.options + o->offset))->items);
    mem_free(p.options);
    mem_free(p.arguments);
    mem_free(p.given);
    return code;
}

static int unknown_command(const char *name)
{
    const char *words[64];
    size_t n = 0;
    for (; cli_commands[n] && n < 63; n++)
        words[n] = cli_commands[n]->name;
    words[n] = NULL;
    const char *near = text_nearest(name, words);
    (void)fprintf(stderr, "weir: unknown command %s%s%s%s\ntry: weir --help\n", name,
                  near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
    return EXIT_USAGE_ERROR;
}

/* A closed one would be given to the next file that is opened: what is printed would go into the journal. */
static void open_standard_files(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

/* What was printed is worth nothing when it did not arrive. */
static int flush_output(int code)
{
    char reason[128];
    bool is_lost = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !is_lost)
        return code;
    if (errno != EPIPE) /* whoever reads has seen enough */
        (void)fprintf(stderr, "weir: write to standard output: %s\n",
                      errno ? error_sys_text(errno, reason, sizeof reason) : "failed");
    return code ? code : EXIT_IO;
}

int cli_main(int argc, char **argv)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    open_standard_files();
    (void)sigaction(SIGXFSZ, &ignore, NULL); /* a file at its limit is an error like a full disk */
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name)
        return print_commands(stderr);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        if (argc == 2)
            return flush_output(print_commands(stdout));
        name = argv[2];
        cli_common.help = true;
        argc = 2;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        if (strcmp(name, (*c)->name) == 0)
            return flush_output(cli_run(*c, argc - 2, argv + 2));
    int code = plugin_command_main(name, argc - 2, argv + 2);
    return code < 0 ? unknown_command(name) : flush_output(code);
}
