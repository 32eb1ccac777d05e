/* main: options, the handshake, the conversation, its end. Standard error has one line for each thing that happens. */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint.h"

static void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s OPTIONS %s\n"
            "  -s           TLS server; else client\n"
            "  -d           DTLS 1.2 (kind adtls); else TLS (kind atls)\n"
            "  -c FILE      our certificate chain, PEM; with -k FILE, its key, and -a FILE, whom to trust\n"
            "  -n NAME      a name that the other end's certificate must have\n"
            "  -p FILE      a PSK: one line, identity:hexkey\n"
            "  -m TEXT      say this; may be repeated\n"
            "  -e COUNT     hear so many messages\n"
            "  -x           then close; else wait until the other end closes\n"
            "  -r FILE      write each unit into this file, in hexadecimal\n",
            program, carriage_usage);
    exit(2);
}

static bool opened;

/* The session is closed as well: what the other end and the gateway keep for it is free at once. */
void fail(const char *format, ...)
{
    va_list arguments;
    bool closing = opened;
    va_start(arguments, format);
    fputs("failed: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    opened = false;
    if (closing) {
        units_flush();
        carriage_close();
    }
    exit(1);
}

/* The key file's one line; the key stays out of arguments, which every user of the machine can read. */
static void read_psk(struct options *options, const char *path)
{
    char digits[129];
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    if (fscanf(file, "%128[^:]:%128[0-9a-fA-F]", options->identity, digits) != 2 || strlen(digits) % 2)
        fail("%s: expected identity:hexkey", path);
    fclose(file);
    options->secret_length = strlen(digits) / 2;
    for (size_t i = 0; i < options->secret_length; i++)
        sscanf(digits + 2 * i, "%2hhx", &options->secret[i]);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const char *messages[argc], *record = NULL;
    int count = 0, expected = 0, length, option;
    bool closes = false;
    static char heard[1 << 14];

    while ((option = getopt(argc, argv, "sdc:k:a:n:p:m:e:xr:")) != -1)
        switch (option) {
        case 's': options.server = true; break;
        case 'd': options.datagrams = true; break;
        case 'c': options.certificate = optarg; break;
        case 'k': options.key = optarg; break;
        case 'a': options.authorities = optarg; break;
        case 'n': options.peer = optarg; break;
        case 'p': read_psk(&options, optarg); break;
        case 'm': messages[count++] = optarg; break;
        case 'e': expected = atoi(optarg); break;
        case 'x': closes = true; break;
        case 'r': record = optarg; break;
        default: usage(argv[0]);
        }
    if (!options.identity[0] && !(options.certificate && options.key && options.authorities))
        usage(argv[0]);

    signal(SIGPIPE, SIG_IGN); /* the end of a connection is an answer of write */
    carriage_open(argc - optind, argv + optind, options.datagrams ? "adtls" : "atls");
    opened = true;
    units_start(options.datagrams, record);
    fprintf(stderr, "established %s\n", tls_start(&options));
    for (int i = 0; i < count; i++) {
        tls_write(messages[i], strlen(messages[i]));
        units_flush();
    }
    while (expected-- > 0) {
        if ((length = tls_read(heard, sizeof heard)) <= 0)
            fail("the session ended early");
        fprintf(stderr, "heard: %.*s\n", length, heard);
    }
    length = closes ? 0 : tls_read(heard, sizeof heard);
    if (length > 0)
        fail("a message too many");
    fprintf(stderr, "ended %s\n", length == 0 ? "in order" : "without close_notify");
    if (closes) { /* else the other end has left the session, and would not hear it */
        tls_close();
        units_flush();
    }
    carriage_close();
    return 0;
}
