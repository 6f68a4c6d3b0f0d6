/* net/listen.h: listening sockets from addresses in text. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* host:port, [v6]:port, unix:/path. A socket (non-blocking), or -1. Shared: other sockets of this
 * process may listen there too; another process is refused all the same. A Unix socket gets mode 0600;
 * one left behind is replaced if nobody listens on it. */
int listen_open(const char *address, bool is_shared, struct error *e);
/* Closes what listen_open opened; removes a Unix socket's file. */
void listen_close(int fd);
/* "127.0.0.1:3000", "[::1]:3000", "unix:/path": of a socket, or of what an accept gave. */
struct sockaddr;
void listen_format(const struct sockaddr *address, size_t address_size, char *text, size_t size);
void listen_name(int fd, char *text, size_t size);
