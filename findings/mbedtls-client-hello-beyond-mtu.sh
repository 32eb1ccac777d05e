#!/bin/sh
# Mbed TLS 2.28 doesn't keep its ClientHello within the MTU that mbedtls_ssl_set_mtu() was given.
#
# Software:     Mbed TLS 2.28.3-1 (Debian 12, linked statically), at both ends, DTLS 1.2 with the library's own test
#               certificate; a C compiler and the headers of libc.
# Expected:     the MTU is "the maximum size datagram the DTLS layer will pass" to the send callback (its header file):
#               300 makes a ClientHello with twelve long ALPN names (or a session ticket) go in fragments.
# Happens:      it goes as one datagram of 629 octets. Nothing else does: the server's Certificate of the same handshake
#               is cut into datagrams of up to 300.
# Who meets it: devices behind links with small frames (6LoWPAN, NB-IoT, an MTU set by hand) with this long-term version
#               of Debian 12 and of many SDKs: the hello is lost or is cut at a lower layer, and is sent again in the
#               same size until the client gives up.
# What to do:   keep the ClientHello small (few cipher suites, curves and ALPN names, no ticket in it), and look at its
#               size in a test; a server or gateway shouldn't take the size of the hello for the client's MTU.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no C compiler).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
cc --version >/dev/null 2>&1 || { echo "no C compiler"; exit 77; }
apt-get download libmbedtls-dev=2.28.3-1 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done

cat >check.c <<'C'
#include <stdio.h>
#include <string.h>

#include "mbedtls/certs.h"
#include "mbedtls/ctr_drbg.h"
#include "mbedtls/entropy.h"
#include "mbedtls/ssl.h"
#include "mbedtls/timing.h"
#include "mbedtls/version.h"

#define MTU 300

struct end {
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_timing_delay_context timer;
    struct end *peer;
    size_t hello, other;  /* the largest datagrams: with a ClientHello, and without */
    size_t queued, lengths[64];
    unsigned char datagrams[64][2048]; /* what the peer has sent */
};

static int send_datagram(void *context, const unsigned char *data, size_t length)
{
    struct end *self = context, *peer = self->peer;
    int is_hello = data[0] == MBEDTLS_SSL_MSG_HANDSHAKE && data[13] == MBEDTLS_SSL_HS_CLIENT_HELLO && !data[4];
    size_t *largest = is_hello ? &self->hello : &self->other;

    if (length > *largest)
        *largest = length;
    if (peer->queued == 64 || length > sizeof(peer->datagrams[0]))
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    memcpy(peer->datagrams[peer->queued], data, length);
    peer->lengths[peer->queued++] = length;
    return (int) length;
}

static int receive_datagram(void *context, unsigned char *data, size_t size)
{
    struct end *self = context;
    size_t length;

    if (!self->queued)
        return MBEDTLS_ERR_SSL_WANT_READ;
    length = self->lengths[0] < size ? self->lengths[0] : size;
    memcpy(data, self->datagrams[0], length);
    self->queued--;
    memmove(self->datagrams[0], self->datagrams[1], self->queued * sizeof(self->datagrams[0]));
    memmove(self->lengths, self->lengths + 1, self->queued * sizeof(self->lengths[0]));
    return (int) length;
}

static struct end client, server;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_source;
static mbedtls_x509_crt certificate;
static mbedtls_pk_context key;

static int set_up(struct end *end, struct end *peer, int role)
{
    int failed;

    end->peer = peer;
    mbedtls_ssl_init(&end->ssl);
    mbedtls_ssl_config_init(&end->config);
    failed = mbedtls_ssl_config_defaults(&end->config, role, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
                                         MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_authmode(&end->config, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_rng(&end->config, mbedtls_ctr_drbg_random, &random_source);
    if (role == MBEDTLS_SSL_IS_SERVER) {
        mbedtls_ssl_conf_dtls_cookies(&end->config, NULL, NULL, NULL);
        failed |= mbedtls_ssl_conf_own_cert(&end->config, &certificate, &key);
    }
    return failed;
}

static int start(struct end *end)
{
    int failed = mbedtls_ssl_setup(&end->ssl, &end->config);

    mbedtls_ssl_set_mtu(&end->ssl, MTU);
    mbedtls_ssl_set_timer_cb(&end->ssl, &end->timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    mbedtls_ssl_set_bio(&end->ssl, end, send_datagram, receive_datagram, NULL);
    return failed;
}

int main(void)
{
    static char names[12][32];
    static const char *protocols[13];
    int failed, number, from_client = 1, from_server = 1;

    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_source);
    mbedtls_x509_crt_init(&certificate);
    mbedtls_pk_init(&key);
    for (number = 0; number < 12; number++) {
        snprintf(names[number], sizeof(names[0]), "protocol-of-application-%02d", number);
        protocols[number] = names[number];
    }
    failed = mbedtls_ctr_drbg_seed(&random_source, mbedtls_entropy_func, &entropy, NULL, 0);
    failed |= mbedtls_x509_crt_parse(&certificate, (const unsigned char *) mbedtls_test_srv_crt,
                                     mbedtls_test_srv_crt_len);
    failed |= mbedtls_pk_parse_key(&key, (const unsigned char *) mbedtls_test_srv_key, mbedtls_test_srv_key_len,
                                   NULL, 0);
    failed |= set_up(&client, &server, MBEDTLS_SSL_IS_CLIENT) | set_up(&server, &client, MBEDTLS_SSL_IS_SERVER);
    failed |= mbedtls_ssl_conf_alpn_protocols(&client.config, protocols);
    failed |= start(&client) | start(&server);
    if (failed) {
        puts("can't be set up");
        return 77;
    }
    for (number = 0; number < 50 && (from_client || from_server); number++) {
        if (from_client)
            from_client = mbedtls_ssl_handshake(&client.ssl);
        if (from_server)
            from_server = mbedtls_ssl_handshake(&server.ssl);
    }
    printf("Mbed TLS %s, MTU %d: handshake %s\n", MBEDTLS_VERSION_STRING, MTU,
           from_client || from_server ? "not done" : "done");
    printf("largest datagram: the ClientHello %zu, others of the client %zu, of the server %zu\n", client.hello,
           client.other, server.other);
    return !(!from_client && !from_server && client.hello > 2 * MTU && client.other <= MTU &&
             server.other <= MTU && server.other > MTU - 50);
}
C
lib=$(dirname "$(find root -name libmbedtls.a)")
cc -Wno-deprecated-declarations -Iroot/usr/include check.c "$lib/libmbedtls.a" "$lib/libmbedx509.a" \
    "$lib/libmbedcrypto.a" -o check >cc.log 2>&1 || { cat cc.log; exit 77; }
./check
