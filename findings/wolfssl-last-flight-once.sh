#!/bin/sh
# A DTLS 1.2 server of wolfSSL 5.5 sends its last flight once: a client that lost it asks in vain.
#
# Software:     wolfSSL 5.5.4-2+deb12u3 (Debian 12), at both ends, over memory; a C compiler, the openssl command.
# Expected:     RFC 6347, section 4.2.4: a server that is done sends its last flight (ChangeCipherSpec, Finished) again
#               when the client repeats its own, since the client can't know that it arrived.
# Happens:      one datagram is lost, the one with the server's Finished. The client's timer repeats its flight, the
#               server reads it with wolfSSL_read and sends nothing, however often. Clients of GnuTLS and Mbed TLS wait
#               as long. wolfSSL 5.7.2 (Debian 13) sends it again.
# Who meets it: devices and gateways on lossy links (802.15.4, NB-IoT) with this long-term version, also in SDKs: a
#               handshake in which the last datagram is lost fails after the client's whole back-off, though the server
#               takes it for established.
# What to do:   let the client begin a new handshake after a few repetitions; in front of such a server hold repetitions
#               of the last flight ready in the layer that carries it; or use 5.7.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no C compiler, no openssl).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
cc --version >/dev/null 2>&1 || { echo "no C compiler"; exit 77; }
command -v openssl >/dev/null || { echo "no openssl"; exit 77; }
apt-get download libwolfssl-dev=5.5.4-2+deb12u3 libwolfssl35=5.5.4-2+deb12u3 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 \
    -subj /CN=server 2>/dev/null

cat >check.c <<'C'
#include <stdio.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#define WAITING 32
#define CHANGE_CIPHER_SPEC 20
#define REPETITIONS 8

struct end {
    WOLFSSL *ssl;
    struct end *peer;
    char datagrams[WAITING][2000];
    int sizes[WAITING];
    int first, next, sent, loses;
};

static int give(WOLFSSL *ssl, char *octets, int size, void *context)
{
    struct end *end = context, *peer = end->peer;

    (void) ssl;
    end->sent++;
    if (end->loses && octets[0] == CHANGE_CIPHER_SPEC) {
        end->loses = 0;
        return size;
    }
    memcpy(peer->datagrams[peer->next % WAITING], octets, (size_t) size);
    peer->sizes[peer->next++ % WAITING] = size;
    return size;
}

static int take(WOLFSSL *ssl, char *octets, int size, void *context)
{
    struct end *end = context;
    int at = end->first % WAITING;

    (void) ssl;
    (void) size;
    if (end->first == end->next)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    end->first++;
    memcpy(octets, end->datagrams[at], (size_t) end->sizes[at]);
    return end->sizes[at];
}

static int cookie(WOLFSSL *ssl, unsigned char *octets, int size, void *context)
{
    (void) ssl;
    (void) context;
    memset(octets, 7, (size_t) size);
    return size;
}

static int set_up(struct end *end, struct end *peer, WOLFSSL_METHOD *method)
{
    WOLFSSL_CTX *context = wolfSSL_CTX_new(method);

    end->peer = peer;
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
    if (wolfSSL_CTX_use_certificate_file(context, "cert.pem", WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_file(context, "key.pem", WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
        return 1;
    wolfSSL_CTX_SetIOSend(context, give);
    wolfSSL_CTX_SetIORecv(context, take);
    wolfSSL_CTX_SetGenCookie(context, cookie);
    end->ssl = wolfSSL_new(context);
    wolfSSL_SetIOReadCtx(end->ssl, end);
    wolfSSL_SetIOWriteCtx(end->ssl, end);
    wolfSSL_dtls_set_using_nonblock(end->ssl, 1);
    return 0;
}

/* How often the client had to repeat its flight until it was done, REPETITIONS if it never was; -1: no handshake. */
static int repetitions(int loses, int *sent_when_done, int *sent)
{
    static struct end client, server;
    int turn, client_done = 0, server_done = 0, repeated = 0;
    char data[64];

    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
    if (set_up(&client, &server, wolfDTLSv1_2_client_method()) || set_up(&server, &client, wolfDTLSv1_2_server_method()))
        return -1;
    server.loses = loses;
    for (turn = 0; turn < 100 && !client_done && repeated < REPETITIONS; turn++) {
        client_done = wolfSSL_connect(client.ssl) == WOLFSSL_SUCCESS;
        if (!server_done) {
            server_done = wolfSSL_accept(server.ssl) == WOLFSSL_SUCCESS;
            *sent_when_done = server.sent;
        } else {
            wolfSSL_read(server.ssl, data, sizeof data);
        }
        if (server_done && !client_done && client.first == client.next && server.first == server.next) {
            wolfSSL_dtls_got_timeout(client.ssl);
            repeated++;
        }
    }
    *sent = server.sent;
    return server_done ? repeated : -1;
}

int main(void)
{
    int when_done, sent, without, with;

    wolfSSL_Init();
    without = repetitions(0, &when_done, &sent);
    with = repetitions(1, &when_done, &sent);
    printf("wolfSSL %s: nothing lost: done after %d repetitions; Finished lost: %d repetitions of the client, %d datagrams "
           "of the server in answer\n", wolfSSL_lib_version(), without, with, sent - when_done);
    return !(without == 0 && with == REPETITIONS && sent == when_done);
}
C
lib=$(dirname "$(find root -name 'libwolfssl.so.35*' | head -n 1)")
cc -Iroot/usr/include check.c -L"$lib" -l:"$(basename "$(find root -name 'libwolfssl.so.35.*' | head -n 1)")" -o check \
    >cc.log 2>&1 || { cat cc.log; exit 77; }
LD_LIBRARY_PATH="$lib" ./check
