/* Mbed TLS (2.28 and 3.6): mbedtls_ssl_set_bio, which draft-tschofenig-layered-tls A.2 names. Certificates and PSK, both
   roles; DTLS 1.2, and TLS 1.3 from 3.6 on, else TLS 1.2. */

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <string.h>
#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif

#include "endpoint.h"

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context source;
static mbedtls_ssl_context ssl;
static mbedtls_ssl_config config;
static mbedtls_x509_crt own, authorities;
static mbedtls_pk_context key;
static mbedtls_timing_delay_context timer;

/* By default a hello has up to 171 suites, which is long for a radio, and more than the 150 that wolfSSL reads. */
static const int suites[] = {
#if MBEDTLS_VERSION_MAJOR >= 3
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
    MBEDTLS_TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8, /* the one that RFC 7252 asks for; not forward secret */
    0,
};

static int give(void *unused, const unsigned char *octets, size_t length)
{
    (void) unused;
    units_write(octets, length);
    return (int) length;
}

static int take(void *unused, unsigned char *octets, size_t size, uint32_t milliseconds)
{
    (void) unused;
    int length = units_read(octets, size, milliseconds ? (int) milliseconds : FOR_EVER);
    return length == TIMED_OUT ? MBEDTLS_ERR_SSL_TIMEOUT : length == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : length;
}

static void must(int result, const char *what)
{
    char reason[128];
    if (result >= 0)
        return;
    mbedtls_strerror(result, reason, sizeof reason);
    fail("%s: %s", what, reason);
}

static void set_certificate(const struct options *options)
{
    must(mbedtls_x509_crt_parse_file(&own, options->certificate), "certificate");
#if MBEDTLS_VERSION_MAJOR >= 3
    must(mbedtls_pk_parse_keyfile(&key, options->key, NULL, mbedtls_ctr_drbg_random, &source), "key");
#else
    must(mbedtls_pk_parse_keyfile(&key, options->key, NULL), "key");
#endif
    must(mbedtls_x509_crt_parse_file(&authorities, options->authorities), "authorities");
    must(mbedtls_ssl_conf_own_cert(&config, &own, &key), "certificate");
    mbedtls_ssl_conf_ca_chain(&config, &authorities, NULL);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED); /* a server asks for none by default */
}

static void set_psk(const struct options *options)
{
    must(mbedtls_ssl_conf_psk(&config, options->secret, options->secret_length,
                              (const unsigned char *) options->identity, strlen(options->identity)), "PSK");
}

static void set_datagrams(const struct options *options)
{
    mbedtls_ssl_set_mtu(&ssl, LONGEST_DATAGRAM);
    mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    mbedtls_ssl_conf_handshake_timeout(&config, FIRST_TIMEOUT * 1000, LAST_TIMEOUT * 1000);
    if (options->server) /* no cookies: the gateway knows who opened the session, and from where */
        mbedtls_ssl_conf_dtls_cookies(&config, NULL, NULL, NULL);
}

const char *tls_start(const struct options *options)
{
    static char agreed[128];
    int result;

    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&source);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&own);
    mbedtls_x509_crt_init(&authorities);
    mbedtls_pk_init(&key);
    must(mbedtls_ctr_drbg_seed(&source, mbedtls_entropy_func, &entropy, NULL, 0), "random numbers");
#if MBEDTLS_VERSION_MAJOR >= 3
    must(psa_crypto_init(), "PSA"); /* TLS 1.3 needs it */
#endif
    must(mbedtls_ssl_config_defaults(&config, options->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                                     options->datagrams ? MBEDTLS_SSL_TRANSPORT_DATAGRAM
                                                        : MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT), "configuration");
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &source);
    mbedtls_ssl_conf_ciphersuites(&config, suites);
    mbedtls_ssl_conf_session_tickets(&config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED); /* nothing is resumed */
    if (options->identity[0])
        set_psk(options);
    else
        set_certificate(options);
    must(mbedtls_ssl_setup(&ssl, &config), "setup");
    must(mbedtls_ssl_set_hostname(&ssl, options->server ? NULL : options->peer), "name");
    mbedtls_ssl_set_bio(&ssl, NULL, give, NULL, take);
    if (options->datagrams)
        set_datagrams(options);
    do
        result = mbedtls_ssl_handshake(&ssl);
    while (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE);
    must(result, "handshake");
    snprintf(agreed, sizeof agreed, "%s %s", mbedtls_ssl_get_version(&ssl), mbedtls_ssl_get_ciphersuite(&ssl));
    return agreed;
}

void tls_write(const void *octets, size_t length)
{
    for (int done; length > 0; octets = (const char *) octets + done, length -= (size_t) done)
        must(done = mbedtls_ssl_write(&ssl, octets, length), "write");
}

int tls_read(void *octets, size_t size)
{
    int length;
    do
        length = mbedtls_ssl_read(&ssl, octets, size);
    while (length == MBEDTLS_ERR_SSL_WANT_READ || length == MBEDTLS_ERR_SSL_WANT_WRITE
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
           || length == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
#endif
           );
    if (length == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return 0;
    if (length == MBEDTLS_ERR_SSL_CONN_EOF)
        return -1;
    must(length, "read");
    return length;
}

void tls_close(void)
{
    mbedtls_ssl_close_notify(&ssl);
}
