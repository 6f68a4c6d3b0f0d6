/* plugin/elf.c: a plugin's manifest read from its ELF file: no code of it runs, no byte is trusted.
 *
 * The dynamic segment is read as the loader reads it, not the sections: so what is checked here is
 * what dlopen will see. Pointers in the file are relocations; they are applied to copies. */
#include "plugin/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "plugin/manifest.h"

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64, RELATIVE = R_X86_64_RELATIVE, ABSOLUTE = R_X86_64_64 };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64, RELATIVE = R_AARCH64_RELATIVE, ABSOLUTE = R_AARCH64_ABS64 };
#else
#error "plugins are read on x86_64 and aarch64"
#endif

enum { LOADS_MAX = 16, HEADERS_MAX = 64, NAME_MAX_BYTES = 128, SYMBOLS_MAX = 1 << 20 };

static const char symbol_name[] = "weir_plugin";

struct image {
    const char *path;
    const unsigned char *bytes;
    size_t size;
    Elf64_Phdr loads[LOADS_MAX];
    size_t load_count;
    uint64_t symbols, strings, gnu_hash, hash, relocations, relocations_bytes;
    struct error *error;
};

static int fail(struct image *image, const char *why)
{
    return error_set(image->error, EXIT_CONFIG, "%s: %s", image->path, why);
}

static int fail_damaged(struct image *image)
{
    return fail(image, "damaged: its tables point outside the file: build or copy it again");
}

/* n bytes of the file, or NULL. */
static const void *bytes_at(const struct image *image, uint64_t offset, uint64_t n)
{
    if (offset > image->size || n > image->size - offset)
        return NULL;
    return image->bytes + offset;
}

/* The bytes that the loader would put at an address, and how many there are from there on. */
static const void *mapped(const struct image *image, uint64_t address, uint64_t *room)
{
    for (size_t i = 0; i < image->load_count; i++) {
        const Elf64_Phdr *load = &image->loads[i];
        if (address < load->p_vaddr || address - load->p_vaddr >= load->p_filesz)
            continue;
        uint64_t skip = address - load->p_vaddr;
        *room = load->p_filesz - skip;
        return bytes_at(image, load->p_offset + skip, *room);
    }
    return NULL;
}

static bool copy_from(const struct image *image, uint64_t address, void *out, size_t n)
{
    uint64_t room = 0;
    const void *from = mapped(image, address, &room);
    if (!from || room < n)
        return false;
    memcpy(out, from, n);
    return true;
}

static uint64_t word32(const struct image *image, uint64_t address, bool *ok)
{
    uint32_t word = 0;
    *ok = *ok && copy_from(image, address, &word, sizeof word);
    return word;
}

/* ---- headers ---------------------------------------------------------------------------------- */

static const char *check_header(const struct image *image, const Elf64_Ehdr *h)
{
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return "not a shared object (ELF): not a plugin";
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
        h->e_machine != MACHINE)
        return "built for another machine: build it for this one";
    if (h->e_type != ET_DYN)
        return "an ELF file, but not a shared object: link it with -shared";
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > HEADERS_MAX || !h->e_phnum)
        return "damaged: no program headers: build or copy it again";
    /* The sections are not needed; they stand at the end, so that a cut file is known by them. */
    if (h->e_shnum && !bytes_at(image, h->e_shoff, (uint64_t)h->e_shnum * h->e_shentsize))
        return "truncated: it ends before its section table: build or copy it again";
    return NULL;
}

static int add_load(struct image *image, const Elf64_Phdr *p)
{
    if (image->load_count == LOADS_MAX)
        return fail(image, "damaged: too many segments: build or copy it again");
    if (!bytes_at(image, p->p_offset, p->p_filesz) || p->p_vaddr > UINT64_MAX - p->p_filesz)
        return fail(image, "truncated: it ends before its segments do: build or copy it again");
    image->loads[image->load_count++] = *p;
    return 0;
}

static int read_headers(struct image *image, Elf64_Phdr *dynamic)
{
    Elf64_Ehdr h = {0};
    memcpy(&h, image->bytes, image->size < sizeof h ? image->size : sizeof h);
    const char *why = check_header(image, &h);
    if (why)
        return fail(image, why);
    for (unsigned i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        const void *from = bytes_at(image, h.e_phoff, (uint64_t)h.e_phnum * sizeof p);
        if (!from)
            return fail(image, "truncated: it ends before its program headers: copy it again");
        memcpy(&p, (const unsigned char *)from + i * sizeof p, sizeof p);
        if (p.p_type == PT_LOAD && add_load(image, &p) != 0)
            return -1;
        if (p.p_type == PT_DYNAMIC)
            *dynamic = p;
    }
    return 0;
}

static void read_dynamic(struct image *image, const Elf64_Phdr *dynamic)
{
    const unsigned char *from = bytes_at(image, dynamic->p_offset, dynamic->p_filesz);
    for (uint64_t at = 0; from && at + sizeof(Elf64_Dyn) <= dynamic->p_filesz;
         at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn d;
        memcpy(&d, from + at, sizeof d);
        if (d.d_tag == DT_NULL)
            break;
        if (d.d_tag == DT_SYMTAB)
            image->symbols = d.d_un.d_ptr;
        if (d.d_tag == DT_STRTAB)
            image->strings = d.d_un.d_ptr;
        if (d.d_tag == DT_GNU_HASH)
            image->gnu_hash = d.d_un.d_ptr;
        if (d.d_tag == DT_HASH)
            image->hash = d.d_un.d_ptr;
        if (d.d_tag == DT_RELA)
            image->relocations = d.d_un.d_ptr;
        if (d.d_tag == DT_RELASZ)
            image->relocations_bytes = d.d_un.d_val;
    }
}

/* ---- the symbol ------------------------------------------------------------------------------- */

static bool read_symbol(const struct image *image, uint64_t index, Elf64_Sym *s)
{
    return copy_from(image, image->symbols + index * sizeof *s, s, sizeof *s);
}

static bool is_manifest(const struct image *image, uint64_t index, uint64_t *address)
{
    Elf64_Sym s;
    char name[sizeof symbol_name];
    if (!read_symbol(image, index, &s) || s.st_shndx == SHN_UNDEF ||
        ELF64_ST_TYPE(s.st_info) != STT_OBJECT ||
        !copy_from(image, image->strings + s.st_name, name, sizeof name) ||
        memcmp(name, symbol_name, sizeof name) != 0)
        return false;
    *address = s.st_value;
    return true;
}

static uint32_t gnu_hash_of(const char *name)
{
    uint32_t h = 5381;
    for (; *name; name++)
        h = h * 33 + (unsigned char)*name;
    return h;
}

/* The table of -Wl,--hash-style=gnu: buckets name the first symbol of a chain of hashes, whose last
 * has its low bit set. */
static bool find_by_gnu_hash(const struct image *image, uint64_t *address)
{
    bool ok = true;
    uint32_t wanted = gnu_hash_of(symbol_name);
    uint64_t bucket_count = word32(image, image->gnu_hash, &ok);
    uint64_t first = word32(image, image->gnu_hash + 4, &ok);
    uint64_t bloom_words = word32(image, image->gnu_hash + 8, &ok);
    uint64_t buckets = image->gnu_hash + 16 + bloom_words * 8, chains = buckets + bucket_count * 4;
    if (!ok || !bucket_count)
        return false;
    uint64_t index = word32(image, buckets + wanted % bucket_count * 4, &ok);
    for (unsigned i = 0; ok && index >= first && i < SYMBOLS_MAX; i++, index++) {
        uint64_t hash = word32(image, chains + (index - first) * 4, &ok);
        if (ok && (hash | 1) == (wanted | 1) && is_manifest(image, index, address))
            return true;
        if (hash & 1)
            break;
    }
    return false;
}

static bool find_by_hash(const struct image *image, uint64_t *address)
{
    bool ok = true;
    uint64_t count = word32(image, image->hash + 4, &ok);
    for (uint64_t i = 0; ok && i < count && i < SYMBOLS_MAX; i++)
        if (is_manifest(image, i, address))
            return true;
    return false;
}

static bool find_manifest(const struct image *image, uint64_t *address)
{
    if (!image->symbols || !image->strings)
        return false;
    if (image->gnu_hash && find_by_gnu_hash(image, address))
        return true;
    return image->hash && find_by_hash(image, address);
}

/* ---- pointers --------------------------------------------------------------------------------- */

/* What the loader would store: 0 if the relocation is of no known kind, 1 for a symbol that another
 * file defines: not NULL, and nothing that can be followed. */
static uint64_t relocated(const struct image *image, const Elf64_Rela *r)
{
    uint64_t type = ELF64_R_TYPE(r->r_info);
    Elf64_Sym s;
    if (type == RELATIVE)
        return (uint64_t)r->r_addend;
    if (type != ABSOLUTE || !read_symbol(image, ELF64_R_SYM(r->r_info), &s))
        return 0;
    return s.st_shndx == SHN_UNDEF ? 1 : s.st_value + (uint64_t)r->r_addend;
}

/* A copy of a structure with its pointers as addresses in the file. Where no relocation is, the
 * bytes stand as they are: that is NULL, or an address that DT_RELR will move. */
static bool copy_struct(const struct image *image, uint64_t address, void *out, size_t n)
{
    uint64_t room = 0;
    if (!copy_from(image, address, out, n))
        return false;
    const unsigned char *table = mapped(image, image->relocations, &room);
    if (!image->relocations || !table)
        return true;
    if (room > image->relocations_bytes)
        room = image->relocations_bytes;
    for (uint64_t at = 0; at + sizeof(Elf64_Rela) <= room; at += sizeof(Elf64_Rela)) {
        Elf64_Rela r;
        memcpy(&r, table + at, sizeof r);
        if (r.r_offset < address || r.r_offset - address > n - sizeof(uint64_t))
            continue;
        uint64_t value = relocated(image, &r);
        memcpy((unsigned char *)out + (r.r_offset - address), &value, sizeof value);
    }
    return true;
}

static bool copy_name(const struct image *image, uint64_t address, char name[NAME_MAX_BYTES])
{
    uint64_t room = 0;
    const char *from = mapped(image, address, &room);
    if (!from)
        return false;
    if (room > NAME_MAX_BYTES)
        room = NAME_MAX_BYTES;
    if (!memchr(from, 0, room))
        return false;
    memcpy(name, from, strnlen(from, room) + 1);
    return true;
}

/* ---- the manifest ----------------------------------------------------------------------------- */

static int add_component(struct image *image, uint64_t address, struct elf_plugin *plugin)
{
    weir_component c;
    char name[NAME_MAX_BYTES];
    enum plugin_role role;
    size_t size = plugin->manifest.component_size;
    memset(&c, 0, sizeof c);
    if (!copy_struct(image, address, &c, size < sizeof c ? size : sizeof c) ||
        !copy_name(image, (uint64_t)(uintptr_t)c.name, name))
        return fail_damaged(image);
    if (manifest_name(image->path, name, image->error) != 0 ||
        manifest_role(image->path, name, &c, &role, image->error) != 0)
        return -1;
    for (size_t i = 0; i < plugin->count; i++)
        if (plugin->components[i].role == role && strcmp(plugin->components[i].name, name) == 0)
            return error_set(image->error, EXIT_CONFIG,
                             "%s: offers the %s '%s' twice: rename one of them", image->path,
                             manifest_role_name(role), name);
    plugin->components =
        mem_grow(plugin->components, (plugin->count + 1) * sizeof *plugin->components);
    plugin->components[plugin->count++] =
        (struct elf_component){mem_text(name), role, c.commands != NULL};
    return 0;
}

static int read_components(struct image *image, struct elf_plugin *plugin)
{
    uint64_t list = (uint64_t)(uintptr_t)plugin->manifest.components;
    for (uint64_t i = 0; i <= MANIFEST_COMPONENTS_MAX; i++) {
        uint64_t address = 0;
        if (!copy_struct(image, list + i * sizeof address, &address, sizeof address))
            return fail_damaged(image);
        if (!address && !i)
            return fail(image, "its manifest names no component: list one in WEIR_PLUGIN(...)");
        if (!address)
            return 0;
        if (i == MANIFEST_COMPONENTS_MAX)
            break;
        if (add_component(image, address, plugin) != 0)
            return -1;
    }
    return fail(image, "its manifest's list of components does not end: build it again");
}

static int read_manifest(struct image *image, struct elf_plugin *plugin)
{
    uint64_t address = 0;
    weir_manifest *m = &plugin->manifest;
    if (!find_manifest(image, &address))
        return fail(image, "not a Weir plugin: it has no symbol weir_plugin");
    if (!copy_from(image, address, m, offsetof(weir_manifest, components)))
        return fail_damaged(image);
    if (manifest_check(image->path, m, image->error) != 0)
        return -1;
    if (!copy_struct(image, address, m, sizeof *m))
        return fail_damaged(image);
    return read_components(image, plugin);
}

int elf_read_bytes(const char *path, const void *bytes, size_t size, struct elf_plugin *plugin,
                   struct error *e)
{
    struct image image = {.path = path, .bytes = bytes, .size = size, .error = e};
    Elf64_Phdr dynamic = {0};
    *plugin = (struct elf_plugin){0};
    if (!size)
        return fail(&image, "empty: not a plugin");
    if (read_headers(&image, &dynamic) != 0)
        return -1;
    read_dynamic(&image, &dynamic);
    if (read_manifest(&image, plugin) == 0)
        return 0;
    elf_fini(plugin);
    return -1;
}

int elf_read(const char *path, struct elf_plugin *plugin, struct error *e)
{
    struct stat st;
    char reason[128];
    *plugin = (struct elf_plugin){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO would wait */
    if (fd < 0 || fstat(fd, &st) != 0) {
        (void)error_set(e, EXIT_CONFIG, "%s: %s", path,
                        error_sys_text(errno, reason, sizeof reason));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    size_t size = S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
    void *bytes = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int error = errno;
    (void)close(fd);
    if (bytes == MAP_FAILED)
        return error_set(e, EXIT_CONFIG, "%s: %s", path,
                         error_sys_text(error, reason, sizeof reason));
    int result = elf_read_bytes(path, bytes, size, plugin, e);
    if (bytes)
        (void)munmap(bytes, size);
    return result;
}

void elf_fini(struct elf_plugin *plugin)
{
    for (size_t i = 0; i < plugin->count; i++)
        mem_free(plugin->components[i].name);
    mem_free(plugin->components);
    *plugin = (struct elf_plugin){0};
}
