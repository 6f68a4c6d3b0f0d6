/* lambda/elf.c: reads a function's manifest from the file, so that nothing unfit is ever loaded. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lambda.h"

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#else
enum { MACHINE = EM_NONE };
#endif

struct image {
    const unsigned char *data;
    size_t size;
};

static bool copy(const struct image *m, uint64_t at, void *to, size_t n)
{
    if (at > m->size || n > m->size - at)
        return false;
    memcpy(to, m->data + at, n);
    return true;
}

static bool is_name(const struct image *m, uint64_t at, const char *name)
{
    char found[32];
    size_t n = strlen(name) + 1;
    return n <= sizeof found && copy(m, at, found, n) && memcmp(found, name, n) == 0;
}

/* The file's byte of a virtual address; UINT64_MAX: none. */
static uint64_t file_offset(const struct image *m, const Elf64_Ehdr *head, uint64_t address)
{
    for (unsigned i = 0; i < head->e_phnum; i++) {
        Elf64_Phdr p;
        if (!copy(m, head->e_phoff + i * sizeof p, &p, sizeof p))
            break;
        if (p.p_type == PT_LOAD && address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz)
            return p.p_offset + (address - p.p_vaddr);
    }
    return UINT64_MAX;
}

static uint64_t find_in(const struct image *m, const Elf64_Ehdr *head, const Elf64_Shdr *symbols)
{
    Elf64_Shdr strings;
    if (!copy(m, head->e_shoff + symbols->sh_link * sizeof strings, &strings, sizeof strings))
        return UINT64_MAX;
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols->sh_size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        if (!copy(m, symbols->sh_offset + at, &symbol, sizeof symbol))
            break;
        if (symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT &&
            is_name(m, strings.sh_offset + symbol.st_name, "weir_function"))
            return file_offset(m, head, symbol.st_value);
    }
    return UINT64_MAX;
}

static uint64_t find_manifest(const struct image *m, const Elf64_Ehdr *head)
{
    for (unsigned i = 0; i < head->e_shnum; i++) {
        Elf64_Shdr section;
        if (!copy(m, head->e_shoff + i * sizeof section, &section, sizeof section))
            break;
        if (section.sh_type == SHT_DYNSYM)
            return find_in(m, head, &section);
    }
    return UINT64_MAX;
}

static const char *judge(const struct image *m, char *detail, size_t size)
{
    Elf64_Ehdr head;
    uint32_t numbers[3]; /* abi, manifest_size, call_size */
    if (!copy(m, 0, &head, sizeof head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
        return "it is no shared object: build it with cc -shared -fPIC";
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != MACHINE || head.e_type != ET_DYN)
        return "it is no shared object for this machine: build it here";
    if (!copy(m, find_manifest(m, &head), numbers, sizeof numbers))
        return "it has no handler: end the file with WEIR_FUNCTION(handler)";
    if (numbers[0] >> 16 == WEIR_FUNCTION_ABI_MAJOR &&
        (numbers[0] & 0xffffu) <= WEIR_FUNCTION_ABI_MINOR &&
        numbers[1] >= WEIR_UPTO(weir_function_manifest, handler))
        return NULL;
    (void)snprintf(detail, size,
                   "it was built for function ABI %u.%u and this runner has %u.%u: build it again "
                   "with this runner's weir/function.h",
                   (unsigned)(numbers[0] >> 16), (unsigned)(numbers[0] & 0xffffu),
                   WEIR_FUNCTION_ABI_MAJOR, WEIR_FUNCTION_ABI_MINOR);
    return detail;
}

int elf_check(const char *path, char *why, size_t size)
{
    struct stat st;
    char detail[256];
    const char *fault = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        (void)snprintf(why, size, "open %s: %s", path, strerrordesc_np(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(Elf64_Ehdr)) {
        fault = "it is no shared object: build it with cc -shared -fPIC";
    } else if (st.st_mode & S_IWOTH) {
        fault = "everybody may write it, and it runs inside the runner: chmod o-w";
    } else {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            fault = "it cannot be read";
        } else {
            fault = judge(&(struct image){data, (size_t)st.st_size}, detail, sizeof detail);
            (void)munmap(data, (size_t)st.st_size);
        }
    }
    bool is_open = fd >= 0;
    if (is_open)
        (void)close(fd);
    if (fault)
        (void)snprintf(why, size, "function %s: %s", path, fault);
    return fault || !is_open ? -1 : 0;
}
