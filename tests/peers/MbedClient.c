/* A DTLS 1.2 client of Mbed TLS: PORT CERTIFICATE KEY ANCHOR MTU ALPN-NAMES (PEM files; MTU 0: as it chooses).
   Says how long its longest datagram was, sends a line, prints the answer and closes. */

#include <arpa/inet.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>
#include <poll.h>
#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fd, largest, datagrams;

static int give(void *context, const unsigned char *octets, size_t length)
{
    (void) context;
    datagrams++;
    if ((int) length > largest)
        largest = (int) length;
    send(fd, octets, length, 0);
    return (int) length;
}

static int take(void *context, unsigned char *octets, size_t length, uint32_t milliseconds)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int got;
    (void) context;
    if (poll(&ready, 1, milliseconds ? (int) milliseconds : -1) == 0)
        return MBEDTLS_ERR_SSL_TIMEOUT;
    got = (int) recv(fd, octets, length, 0);
    return got < 0 ? MBEDTLS_ERR_SSL_TIMEOUT : got;
}

static void must(int result, const char *what)
{
    if (result < 0) {
        printf("%s failed: -0x%04x\n", what, (unsigned) -result);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt own, anchor;
    mbedtls_pk_context key;
    mbedtls_timing_delay_context timer;
    struct sockaddr_in to = {.sin_family = AF_INET};
    unsigned char answer[2000];
    static char names[32][32];
    static const char *offered[33];
    int result, count, i;

    if (argc != 7)
        return 2;
    to.sin_port = htons((uint16_t) atoi(argv[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    must(connect(fd, (struct sockaddr *) &to, sizeof to), "connect");
#if MBEDTLS_VERSION_MAJOR >= 3
    must(psa_crypto_init(), "psa");
#endif
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&own);
    mbedtls_x509_crt_init(&anchor);
    mbedtls_pk_init(&key);
    must(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
    must(mbedtls_x509_crt_parse_file(&own, argv[2]), "certificate");
#if MBEDTLS_VERSION_MAJOR >= 3
    must(mbedtls_pk_parse_keyfile(&key, argv[3], NULL, mbedtls_ctr_drbg_random, &random), "key");
#else
    must(mbedtls_pk_parse_keyfile(&key, argv[3], NULL), "key");
#endif
    must(mbedtls_x509_crt_parse_file(&anchor, argv[4]), "anchor");
    must(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT), "config");
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    mbedtls_ssl_conf_ca_chain(&config, &anchor, NULL);
    must(mbedtls_ssl_conf_own_cert(&config, &own, &key), "own");
    count = atoi(argv[6]);
    for (i = 0; i < count && i < 32; i++) {
        snprintf(names[i], sizeof names[i], "a-rather-long-protocol-name-%d", i);
        offered[i] = names[i];
    }
    if (count)
        must(mbedtls_ssl_conf_alpn_protocols(&config, offered), "alpn");
    must(mbedtls_ssl_setup(&ssl, &config), "setup");
    must(mbedtls_ssl_set_hostname(&ssl, "svc.example"), "name");
    if (atoi(argv[5]))
        mbedtls_ssl_set_mtu(&ssl, (uint16_t) atoi(argv[5]));
    mbedtls_ssl_set_bio(&ssl, NULL, give, NULL, take);
    mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    do
        result = mbedtls_ssl_handshake(&ssl);
    while (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE);
    must(result, "handshake");
    printf("connected %s\nsent %d largest %d\n", mbedtls_ssl_get_ciphersuite(&ssl), datagrams, largest);
    must(mbedtls_ssl_write(&ssl, (const unsigned char *) "hello from mbed", 15), "write");
    do
        result = mbedtls_ssl_read(&ssl, answer, sizeof answer);
    while (result == MBEDTLS_ERR_SSL_WANT_READ);
    must(result, "read");
    printf("answer %.*s\n", result, answer);
    mbedtls_ssl_close_notify(&ssl);
    return 0;
}
