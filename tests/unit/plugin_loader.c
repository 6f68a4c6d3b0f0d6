/* tests/unit/plugin_loader.c: plugins found, refused for each reason there is, and loaded. The shared
 * objects are made here with cc. */
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "plugin/elf.h"
#include "plugin/plugin.h"

extern char **environ;

static char root[256], good[300];

static const char sink_code[] =
    "#include <weir/plugin.h>\n"
    "#include <stdlib.h>\n"
    "extern char nowhere_to_be_found[];\n"
    "#ifdef CONSTRUCTOR\n"
    "__attribute__((constructor)) static void begin(void) { exit(99); }\n"
    "#endif\n"
    "struct state { const char *path; int64_t n; weir_list rules; };\n"
    "struct rule { bool on; };\n"
    "static const weir_option rule_rows[] = {WEIR_OPTION(struct rule, on), {0}};\n"
    "static const weir_option rows[] = {WEIR_OPTION(struct state, path, .required = true),\n"
    "    WEIR_OPTION(struct state, n), WEIR_OPTION(struct state, rules, WEIR_ITEMS(struct rule, "
    "rule_rows)),\n"
    "    EXTRA_ROW {0}};\n"
    "static weir_status write_it(void *s, const weir_host *h, const weir_batch *b) { return "
    "WEIR_OK; }\n"
    "static weir_status pull_it(void *s, const weir_host *h, weir_batch *b) { return WEIR_END; }\n"
    "static const weir_component to = {.name = NAME, .version = \"1\", .summary = \"x\", .flags = "
    "FLAGS,\n"
    "    .state_size = sizeof(struct state), .options = rows, .write = write_it EXTRA_SLOT};\n"
    "static const weir_component from = {.name = NAME, .version = \"1\", .summary = \"x\", .pull = "
    "pull_it};\n"
    "WEIR_PLUGIN(&to OTHER);\n";

static void put_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wbe");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

static void get_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rbe");
    ck_assert_ptr_nonnull(f);
    for (size_t n = 1; n > 0; out->len += n)
        n = fread(buf_room(out, 65536), 1, 65536, f);
    ck_assert_int_eq(fclose(f), 0);
}

static void run(char *const *arguments)
{
    pid_t pid;
    int status = 0;
    ck_assert_int_eq(posix_spawnp(&pid, arguments[0], NULL, NULL, arguments, environ), 0);
    while (waitpid(pid, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    ck_assert_int_eq(status, 0);
}

/* cc with up to six flags (NULL ends them) makes `path` of the code. */
static void compile(const char *path, const char *code, const char *const *flags)
{
    const char *include = getenv("WEIR_TEST_INCLUDE");
    char source[400], include_flag[400];
    (void)snprintf(source, sizeof source, "%s.c", path);
    (void)snprintf(include_flag, sizeof include_flag, "-I%s", include ? include : "include");
    put_file(source, code, strlen(code));
    const char *arguments[24] = {"cc",         "-shared", "-fPIC", "-w",   "-std=gnu11",
                                 include_flag, "-o",      path,    source, NULL};
    size_t n = 9;
    for (; flags && *flags; flags++)
        arguments[n++] = *flags;
    arguments[n] = NULL;
    run((char *const *)(const void *)arguments);
}

static void compile_sink(const char *path, const char *name, const char *const *more)
{
    char flag[64];
    (void)snprintf(flag, sizeof flag, "-DNAME=\"%s\"", name);
    const char *flags[12] = {flag};
    size_t n = 1;
    static const char *const defaults[] = {"-DFLAGS=0",
                                           "-DOTHER=", "-DEXTRA_ROW=", "-DEXTRA_SLOT="};
    for (; more && *more; more++)
        flags[n++] = *more;
    for (size_t i = 0; i < 4; i++) {
        size_t key = strcspn(defaults[i], "=");
        bool is_given = false;
        for (size_t k = 1; k < n; k++)
            is_given = is_given || strncmp(flags[k], defaults[i], key) == 0;
        if (!is_given)
            flags[n++] = defaults[i];
    }
    flags[n] = NULL;
    compile(path, sink_code, flags);
}

/* A path in the test's folder, good for the next three calls. */
static char *in_root(const char *name)
{
    static char paths[4][400];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static char *new_dir(const char *name)
{
    char *dir = in_root(name);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    return dir;
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(root, sizeof root, "%s/weir-plugin-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
    (void)umask(022);
    (void)snprintf(good, sizeof good, "%s/good.so", root);
    compile_sink(good, "good", (const char *[]){"-DOTHER=,&from", NULL});
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

static void tear_down(void)
{
    (void)nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void is_refused(const char *path, const char *why)
{
    struct error e = {0};
    ck_assert_msg(plugin_check_file(path, &e) == -1, "%s was accepted", path);
    ck_assert_int_eq(e.code, EXIT_CONFIG);
    ck_assert_msg(strstr(e.text, why) != NULL, "'%s' lacks '%s'", e.text, why);
    ck_assert_msg(strstr(e.text, path) != NULL, "'%s' lacks the file", e.text);
}

/* A copy of the good plugin with n bytes replaced at an offset. */
static void is_refused_with(size_t offset, const void *bytes, size_t n, const char *why)
{
    struct buf b = {0};
    get_file(good, &b);
    memcpy(b.ptr + offset, bytes, n);
    put_file(in_root("patched.so"), b.ptr, b.len);
    buf_fini(&b);
    is_refused(in_root("patched.so"), why);
}

/* Where the manifest's numbers stand in the file. */
static size_t manifest_offset(void)
{
    struct buf b = {0};
    uint32_t numbers[] = {WEIR_ABI_MAJOR << 16, sizeof(weir_manifest), sizeof(weir_component),
                          sizeof(weir_option)};
    get_file(good, &b);
    const char *at = memmem(b.ptr, b.len, numbers, sizeof numbers);
    ck_assert_ptr_nonnull(at);
    size_t offset = (size_t)(at - b.ptr);
    buf_fini(&b);
    return offset;
}

START_TEST(reads_without_loading)
{
    struct elf_plugin p;
    struct error e = {0};
    compile_sink(in_root("deadly.so"), "deadly", (const char *[]){"-DCONSTRUCTOR", NULL});
    ck_assert_msg(elf_read(in_root("deadly.so"), &p, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(p.count, 1);
    ck_assert_str_eq(p.components[0].name, "deadly");
    ck_assert_int_eq(p.components[0].role, PLUGIN_SINK);
    elf_fini(&p);
    ck_assert_msg(elf_read(good, &p, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(p.count, 2);
    ck_assert_int_eq(p.components[1].role, PLUGIN_SOURCE);
    elf_fini(&p);
}
END_TEST

/* The same plugin, linked in the ways that are in use. */
START_TEST(reads_every_way_of_linking)
{
    static const char *const ways[] = {"-Wl,--hash-style=sysv",
                                       "-Wl,--hash-style=gnu",
                                       "-Wl,-z,norelro",
                                       "-s",
                                       "-Wl,-z,pack-relative-relocs",
                                       "-Wl,-Bsymbolic",
                                       "-Os"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct elf_plugin p;
        struct error e = {0};
        compile_sink(in_root("way.so"), "way", (const char *[]){ways[i], "-DOTHER=,&from", NULL});
        ck_assert_msg(elf_read(in_root("way.so"), &p, &e) == 0, "%s: %s", ways[i], e.text);
        ck_assert_uint_eq(p.count, 2);
        ck_assert_int_eq(p.components[0].role, PLUGIN_SINK);
        ck_assert_int_eq(p.components[1].role, PLUGIN_SOURCE);
        elf_fini(&p);
    }
}
END_TEST

START_TEST(refuses_other_abis)
{
    size_t at = manifest_offset();
    uint32_t two = 2u << 16, minor = (WEIR_ABI_MAJOR << 16) + 1, small = 8,
             odd = sizeof(weir_option) + 4;
    is_refused_with(at, &two, 4,
                    "built for ABI 2.0, this runner has 1.0: rebuild it against this runner's "
                    "headers (weir.pc)");
    is_refused_with(at, &minor, 4, "wants ABI 1.1, this runner has 1.0");
    is_refused_with(at + 4, &small, 4, "its manifest has 8 bytes");
    is_refused_with(at + 8, &small, 4, "its components have 8 bytes");
    is_refused_with(at + 12, &small, 4, "its options have 8 bytes");
    is_refused_with(at + 12, &odd, 4, "its options have");
}
END_TEST

START_TEST(accepts_larger_structures)
{
    struct buf b = {0};
    struct error e = {0};
    uint32_t larger = sizeof(weir_component) + 16;
    size_t at = manifest_offset();
    get_file(good, &b);
    memcpy(b.ptr + at + 8, &larger, 4);
    put_file(in_root("larger.so"), b.ptr, b.len);
    buf_fini(&b);
    ck_assert_msg(plugin_check_file(in_root("larger.so"), &e) == 0, "%s", e.text);
}
END_TEST

START_TEST(refuses_what_is_no_plugin)
{
    static const char *const flags[] = {NULL};
    put_file(in_root("text.so"), "#!/bin/sh\n", 10);
    is_refused(in_root("text.so"), "not a shared object (ELF)");
    put_file(in_root("empty.so"), "", 0);
    is_refused(in_root("empty.so"), "empty");
    is_refused(in_root("absent.so"), "No such file or directory");
    compile(in_root("other.so"), "int x = 1;\n", flags);
    is_refused(in_root("other.so"), "not a Weir plugin: it has no symbol weir_plugin");
    compile(in_root("function.so"), "int weir_plugin(void) { return 0; }\n", flags);
    is_refused(in_root("function.so"), "not a Weir plugin: it has no symbol weir_plugin");
    compile(in_root("needs.so"), "extern int weir_plugin; int f(void) { return weir_plugin; }\n",
            flags);
    is_refused(in_root("needs.so"), "not a Weir plugin: it has no symbol weir_plugin");
    uint16_t machine = EM_S390, type = ET_EXEC;
    is_refused_with(offsetof(Elf64_Ehdr, e_machine), &machine, 2, "built for another machine");
    is_refused_with(offsetof(Elf64_Ehdr, e_type), &type, 2, "not a shared object");
}
END_TEST

START_TEST(refuses_bad_components)
{
    static const struct {
        const char *flags[3];
        const char *name, *why;
    } cases[] = {
        {{"-DEXTRA_SLOT=,.pull=pull_it", NULL}, "x", "the component 'x' has more than one role"},
        {{"-DEXTRA_SLOT=,.write=NULL", NULL}, "x", "the component 'x' has no role"},
        {{"-DOTHER=,&to", NULL}, "x", "offers the sink 'x' twice"},
        {{NULL}, "a b", "'a b' is no name for a component"},
        {{NULL}, "", "'' is no name for a component"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        compile_sink(in_root("bad.so"), cases[i].name, cases[i].flags);
        is_refused(in_root("bad.so"), cases[i].why);
    }
    compile(in_root("none.so"), "#include <weir/plugin.h>\nWEIR_PLUGIN(0);\n",
            (const char *[]){NULL});
    is_refused(in_root("none.so"), "names no component");
}
END_TEST

/* Each cut of the file is refused or, where only debug text was lost, read: never a crash. */
START_TEST(cut_anywhere)
{
    struct buf b = {0};
    get_file(good, &b);
    for (size_t n = 0; n < b.len; n += 1 + n / 97) {
        struct elf_plugin p;
        struct error e = {0};
        char *exact = mem_copy(b.ptr, n);
        ck_assert_msg(elf_read_bytes("cut.so", exact, n, &p, &e) == -1, "at %zu", n);
        ck_assert_int_eq(e.code, EXIT_CONFIG);
        mem_free(exact);
    }
    put_file(in_root("cut.so"), b.ptr, b.len / 2);
    is_refused(in_root("cut.so"), "truncated");
    buf_fini(&b);
}
END_TEST

START_TEST(bytes_changed_anywhere)
{
    struct buf b = {0};
    get_file(good, &b);
    uint64_t random = 88172645463325252u;
    for (unsigned i = 0; i < 4000; i++) {
        struct elf_plugin p;
        struct error e = {0};
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        /* Half of the changes go where the headers and tables are. */
        size_t at = (size_t)(random >> 8) % (i % 2 ? b.len : 2048);
        char was = b.ptr[at];
        b.ptr[at] = (char)random;
        if (elf_read_bytes("changed.so", b.ptr, b.len, &p, &e) == 0)
            elf_fini(&p);
        b.ptr[at] = was;
    }
    buf_fini(&b);
}
END_TEST

START_TEST(refuses_what_everyone_can_write)
{
    char *dir = new_dir("open");
    char file[320];
    (void)snprintf(file, sizeof file, "%s/open.so", dir);
    compile_sink(file, "open", NULL);
    struct error e = {0};
    ck_assert_msg(plugin_check_file(file, &e) == 0, "%s", e.text);
    ck_assert_int_eq(chmod(file, 0666), 0);
    is_refused(file, "writable by everyone: chmod o-w ");
    ck_assert_int_eq(chmod(file, 0644), 0);
    ck_assert_int_eq(chmod(dir, 0777), 0);
    ck_assert_int_eq(plugin_check_file(file, &e), -1);
    char expected[400];
    (void)snprintf(expected, sizeof expected, "%s: writable by everyone: chmod o-w %s", dir, dir);
    ck_assert_str_eq(e.text, expected);
}
END_TEST

static struct plugins *set_of(const char *dir, const char *second)
{
    return plugins_new((const char *const[]){dir, second, NULL});
}

static void finds_nothing(struct plugins *p, const char *name, enum plugin_role role,
                          const char *why)
{
    struct error e = {0};
    ck_assert_ptr_null(plugins_find(p, name, role, &e));
    ck_assert_int_eq(e.code, EXIT_CONFIG);
    ck_assert_msg(strstr(e.text, why) != NULL, "'%s' lacks '%s'", e.text, why);
}

START_TEST(finds_and_loads)
{
    struct error e = {0};
    struct plugins *p = set_of(root, in_root("nowhere"));
    const weir_component *c = plugins_find(p, "good", PLUGIN_SINK, &e);
    ck_assert_msg(c != NULL, "%s", e.text);
    ck_assert_str_eq(c->name, "good");
    ck_assert_int_eq(plugin_role_of(c), PLUGIN_SINK);
    ck_assert_str_eq(plugins_path(p, c), good);
    ck_assert_ptr_eq(plugins_find(p, "good", PLUGIN_SINK, &e), c);
    const weir_component *from = plugins_find(p, "good", PLUGIN_SOURCE, &e);
    ck_assert_ptr_nonnull(from);
    ck_assert_int_eq(plugin_role_of(from), PLUGIN_SOURCE);
    ck_assert_ptr_null(plugins_path(p, &(weir_component){0}));
    finds_nothing(p, "good", PLUGIN_TRANSFORM, "'good' is a source, not a transform");
    finds_nothing(p, "goood", PLUGIN_SINK,
                  "no plugin offers the sink 'goood': did you mean 'good'?");
    finds_nothing(p, "kafka", PLUGIN_SINK, "nowhere (not there)");
    const char *const *names = plugins_names(p, PLUGIN_SINK);
    ck_assert_str_eq(names[0], "good");
    ck_assert_ptr_null(names[1]);
    ck_assert_ptr_null(plugins_names(p, PLUGIN_TRANSFORM)[0]);

    /* What comes later is found without a new start. */
    compile_sink(in_root("later.so"), "later", NULL);
    ck_assert_ptr_nonnull(plugins_find(p, "later", PLUGIN_SINK, &e));
    ck_assert_ptr_eq(plugins_find(p, "good", PLUGIN_SINK, &e), c);
    plugins_free(p);
}
END_TEST

START_TEST(refuses_a_name_offered_twice)
{
    char *one = new_dir("one"), *two = new_dir("two");
    char first[320], second[320];
    (void)snprintf(first, sizeof first, "%s/twin.so", one);
    (void)snprintf(second, sizeof second, "%s/unlike.so", two);
    compile_sink(first, "twin", NULL);
    compile_sink(second, "twin", NULL);
    struct plugins *p = set_of(one, two);
    finds_nothing(p, "twin", PLUGIN_SINK, first);
    finds_nothing(p, "twin", PLUGIN_SINK, second);
    plugins_free(p);
    struct error e = {0};
    p = set_of(one, one); /* one file by two ways is one file */
    ck_assert_ptr_nonnull(plugins_find(p, "twin", PLUGIN_SINK, &e));
    plugins_free(p);
}
END_TEST

struct told {
    unsigned components, refused;
    char text[600];
};

static void tell(void *user, const char *path, const weir_component *c, const char *refused)
{
    struct told *t = user;
    t->components += c != NULL;
    t->refused += refused != NULL;
    if (refused)
        (void)snprintf(t->text, sizeof t->text, "%s", refused);
}

/* What only the loaded manifest shows: tables of options, flags, and libraries that are missing. */
START_TEST(refuses_after_loading)
{
    static const struct {
        const char *flag, *why;
    } cases[] = {
        {"-DFLAGS=64", "has the flag 0x40, which this runner does not know"},
        {"-DEXTRA_ROW={.name=\"z\",.type=99},", "has the type 99, which this runner does not know"},
        {"-DEXTRA_ROW={.name=\"z\",.type=WEIR_T_TEXT,.offset=4000},", "lies outside its structure"},
        {"-DEXTRA_ROW={.name=\"path\",.type=WEIR_T_TEXT},", "stands twice in its table"},
        {"-DEXTRA_ROW={.name=\"z\",.type=WEIR_T_CHOICE},", "is a choice without .choices"},
        {"-DEXTRA_ROW={.name=\"z\",.type=WEIR_T_LIST},", "has items without WEIR_ITEMS"},
        {"-DEXTRA_ROW={.name=\"z\",.type=WEIR_T_MAP,.items=rows,.item_size=32},",
         "is nested too deeply"},
        {"-DEXTRA_ROW={.name=\"\",.type=WEIR_T_TEXT},", "has an empty name"},
        {"-DEXTRA_SLOT=,.worker_size=8", "has a worker_size without the flag WEIR_PARALLEL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32], path[320];
        (void)snprintf(name, sizeof name, "late%zu", i);
        char *dir = new_dir(name);
        (void)snprintf(path, sizeof path, "%s/%s.so", dir, name);
        compile_sink(path, name, (const char *[]){cases[i].flag, NULL});
        struct plugins *p = set_of(dir, NULL);
        finds_nothing(p, name, PLUGIN_SINK, cases[i].why);
        finds_nothing(p, name, PLUGIN_SINK, path);
        struct told told = {0};
        plugins_each(p, tell, &told);
        ck_assert_uint_eq(told.refused, 1);
        ck_assert_msg(strstr(told.text, cases[i].why) != NULL, "%s", told.text);
        plugins_free(p);
    }
    char *dir = new_dir("missing");
    char path[320];
    (void)snprintf(path, sizeof path, "%s/lacks.so", dir);
    compile_sink(path, "lacks",
                 (const char *[]){"-DEXTRA_SLOT=,.drain=(void*)nowhere_to_be_found", NULL});
    struct plugins *p = set_of(dir, NULL);
    finds_nothing(p, "lacks", PLUGIN_SINK, "nowhere_to_be_found");
    plugins_free(p);
}
END_TEST

START_TEST(tells_of_each)
{
    struct told told = {0};
    put_file(in_root("broken.so"), "no", 2);
    struct plugins *p = set_of(root, NULL);
    plugins_each(p, tell, &told);
    ck_assert_uint_eq(told.components, 2);
    ck_assert_uint_eq(told.refused, 1);
    finds_nothing(p, "broken", PLUGIN_SINK, "broken.so: not a shared object (ELF)");
    plugins_free(p);
}
END_TEST

START_TEST(reads_quickly)
{
    struct timespec from, to;
    struct elf_plugin p;
    struct error e = {0};
    double best_us = 1e9;
    for (int i = 0; i < 100; i++) {
        (void)clock_gettime(CLOCK_MONOTONIC, &from);
        ck_assert_int_eq(elf_read(good, &p, &e), 0);
        (void)clock_gettime(CLOCK_MONOTONIC, &to);
        elf_fini(&p);
        double us =
            (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
        best_us = us < best_us ? us : best_us;
    }
    ck_assert_msg(best_us < 1000, "%.1f us a file", best_us);
    if (getenv("WEIR_TEST_FIGURES"))
        (void)printf("a manifest read in %.1f us\n", best_us);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plugin_loader");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, reads_without_loading);
    tcase_add_test(t, reads_every_way_of_linking);
    tcase_add_test(t, refuses_other_abis);
    tcase_add_test(t, accepts_larger_structures);
    tcase_add_test(t, refuses_what_is_no_plugin);
    tcase_add_test(t, refuses_bad_components);
    tcase_add_test(t, cut_anywhere);
    tcase_add_test(t, bytes_changed_anywhere);
    tcase_add_test(t, refuses_what_everyone_can_write);
    tcase_add_test(t, finds_and_loads);
    tcase_add_test(t, refuses_a_name_offered_twice);
    tcase_add_test(t, refuses_after_loading);
    tcase_add_test(t, tells_of_each);
    tcase_add_test(t, reads_quickly);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
