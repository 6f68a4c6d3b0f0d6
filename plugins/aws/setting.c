/* aws/setting.c: the environment and the shared files, as all SDKs read them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws.h"
#include "ini.h"

const char *setting_env(const char *name)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): nobody sets it any more */
    return value && *value ? value : NULL;
}

bool setting_is_true(const char *text)
{
    return text && strcasecmp(text, "true") == 0;
}

const char *setting_profile(void)
{
    const char *name = setting_env("AWS_PROFILE");
    if (!name)
        name = setting_env("AWS_DEFAULT_PROFILE");
    return name ? name : "default";
}

weir_str setting_read(const weir_host *h, const char *path, size_t max)
{
    struct stat st;
    weir_str text = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return text;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > max) {
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        (void)close(fd);
        return text;
    }
    char *bytes = h->scratch(h, (size_t)st.st_size + 1);
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n < (size_t)st.st_size; n += (size_t)(got > 0 ? got : 0))
        got = read(fd, bytes + n, (size_t)st.st_size - n);
    bytes[n] = 0;
    (void)close(fd);
    return (weir_str){bytes, n};
}

static weir_str file_of(const weir_host *h, bool is_config)
{
    char path[4096];
    const char *set = setting_env(is_config ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE");
    const char *home = setting_env("HOME");
    if (set && set[0] == '~' && set[1] == '/' && home)
        (void)snprintf(path, sizeof path, "%s%s", home, set + 1);
    else if (set)
        (void)snprintf(path, sizeof path, "%s", set);
    else
        (void)snprintf(path, sizeof path, "%s/.aws/%s", home ? home : "",
                       is_config ? "config" : "credentials");
    return set || home ? setting_read(h, path, INI_FILE_MAX) : (weir_str){0};
}

bool setting_find(const weir_host *h, const char *profile, const char *key, const char *sub,
                  char *value, size_t size)
{
    char section[512];
    for (int is_config = 0; is_config < 2; is_config++) {
        ini_profile(profile, is_config, section, sizeof section);
        weir_str found = ini_find(file_of(h, is_config), section, key, sub);
        if (!found.len || found.len >= size)
            continue;
        memcpy(value, found.ptr, found.len);
        value[found.len] = 0;
        return true;
    }
    return false;
}

bool setting_has_profile(const weir_host *h, const char *profile)
{
    char section[512];
    for (int is_config = 0; is_config < 2; is_config++) {
        ini_profile(profile, is_config, section, sizeof section);
        if (ini_has(file_of(h, is_config), section))
            return true;
    }
    return false;
}

bool setting_service_url(const weir_host *h, const char *profile, const char *name, char *value,
                         size_t size)
{
    char services[256], section[300];
    if (!setting_find(h, profile, "services", NULL, services, sizeof services))
        return false;
    (void)snprintf(section, sizeof section, "services %s", services);
    weir_str found = ini_find(file_of(h, true), section, name, "endpoint_url");
    if (!found.len || found.len >= size)
        return false;
    memcpy(value, found.ptr, found.len);
    value[found.len] = 0;
    return true;
}

const char *setting_ca_file(const weir_host *h)
{
    const char *set = setting_env("AWS_CA_BUNDLE");
    char *path = h->scratch(h, 4096);
    if (set)
        return set;
    return setting_find(h, setting_profile(), "ca_bundle", NULL, path, 4096) ? path : NULL;
}
