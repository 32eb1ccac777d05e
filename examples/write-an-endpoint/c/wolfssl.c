/* wolfSSL (5.5 and 5.7): I/O callbacks in the place of a socket. Certificates and PSK, TLS 1.3 and DTLS 1.2, both roles. */

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdio.h>
#include <string.h>

#include "endpoint.h"

static WOLFSSL_CTX *context;
static WOLFSSL *ssl;
static const struct options *ours;
static bool over;

static int give(WOLFSSL *unused, char *octets, int length, void *neither)
{
    (void) unused, (void) neither;
    units_write(octets, (size_t) length);
    return length;
}

/* wolfSSL has no clock: a read that took so long tells it to send its flight again. */
static int take(WOLFSSL *unused, char *octets, int size, void *neither)
{
    (void) unused, (void) neither;
    bool waits = ours->datagrams && !wolfSSL_is_init_finished(ssl);
    int length = units_read(octets, (size_t) size, waits ? wolfSSL_dtls_get_current_timeout(ssl) * 1000 : FOR_EVER);
    over = length == 0;
    return over ? WOLFSSL_CBIO_ERR_CONN_CLOSE : length == TIMED_OUT ? WOLFSSL_CBIO_ERR_TIMEOUT : length;
}

/* A server of wolfSSL always asks for a cookie. The gateway knows who opened the session: any will do. */
static int make_cookie(WOLFSSL *unused, unsigned char *cookie, int size, void *neither)
{
    (void) unused, (void) neither;
    memset(cookie, 0x5a, (size_t) size);
    return size;
}

static unsigned psk_of_client(WOLFSSL *unused, const char *hint, char *identity, unsigned identity_size,
                              unsigned char *secret, unsigned secret_size)
{
    (void) unused, (void) hint;
    if (ours->secret_length > secret_size)
        return 0;
    snprintf(identity, identity_size, "%s", ours->identity);
    memcpy(secret, ours->secret, ours->secret_length);
    return (unsigned) ours->secret_length;
}

static unsigned psk_of_server(WOLFSSL *unused, const char *identity, unsigned char *secret, unsigned secret_size)
{
    (void) unused;
    if (strcmp(identity, ours->identity) != 0 || ours->secret_length > secret_size)
        return 0;
    memcpy(secret, ours->secret, ours->secret_length);
    return (unsigned) ours->secret_length;
}

static void must(int result, const char *what)
{
    char reason[WOLFSSL_MAX_ERROR_SZ] = "refused";
    if (result > 0)
        return;
    if (ssl != NULL)
        wolfSSL_ERR_error_string((unsigned long) wolfSSL_get_error(ssl, result), reason);
    fail("%s: %s", what, reason);
}

static void set_certificate(void)
{
    must(wolfSSL_CTX_use_certificate_chain_file(context, ours->certificate), "certificate");
    must(wolfSSL_CTX_use_PrivateKey_file(context, ours->key, WOLFSSL_FILETYPE_PEM), "key");
    must(wolfSSL_CTX_load_verify_locations(context, ours->authorities, NULL), "authorities");
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

/* A server of wolfSSL takes its own first choice, which would be a PSK without forward secrecy. */
static void set_psk(void)
{
    must(wolfSSL_CTX_set_cipher_list(context, "TLS13-AES128-GCM-SHA256:ECDHE-PSK-CHACHA20-POLY1305:"
                                              "DHE-PSK-AES128-GCM-SHA256:PSK-AES128-CCM"), "cipher suites");
    if (ours->server)
        wolfSSL_CTX_set_psk_server_callback(context, psk_of_server);
    else
        wolfSSL_CTX_set_psk_client_callback(context, psk_of_client);
}

const char *tls_start(const struct options *options)
{
    static char agreed[128];
    bool datagrams = options->datagrams;

    ours = options;
    wolfSSL_Init();
    if (options->server)
        context = wolfSSL_CTX_new(datagrams ? wolfDTLSv1_2_server_method() : wolfTLS_server_method());
    else
        context = wolfSSL_CTX_new(datagrams ? wolfDTLSv1_2_client_method() : wolfTLS_client_method());
    if (options->identity[0])
        set_psk();
    else
        set_certificate();
    /* Its hello has a key for P-256, but names P-521 first: a server that prefers that asks for another hello. */
    if (!datagrams)
        must(wolfSSL_CTX_set_groups(context, (int[]) {WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_X25519}, 2), "groups");
    wolfSSL_CTX_no_ticket_TLSv13(context); /* nothing is resumed */
    wolfSSL_CTX_SetIOSend(context, give);
    wolfSSL_CTX_SetIORecv(context, take);
    ssl = wolfSSL_new(context);
    if (options->peer != NULL)
        must(wolfSSL_check_domain_name(ssl, options->peer), "name");
    if (datagrams) {
        wolfSSL_dtls_set_timeout_init(ssl, FIRST_TIMEOUT);
        wolfSSL_dtls_set_timeout_max(ssl, LAST_TIMEOUT);
        wolfSSL_CTX_SetGenCookie(context, make_cookie);
    }
    must(options->server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl), "handshake");
    snprintf(agreed, sizeof agreed, "%s %s", wolfSSL_get_version(ssl), wolfSSL_get_cipher_name(ssl));
    return agreed;
}

void tls_write(const void *octets, size_t length)
{
    must(wolfSSL_write(ssl, octets, (int) length), "write");
}

int tls_read(void *octets, size_t size)
{
    int length = wolfSSL_read(ssl, octets, (int) size);
    if (length > 0)
        return length;
    if (wolfSSL_get_error(ssl, length) == WOLFSSL_ERROR_ZERO_RETURN)
        return wolfSSL_get_shutdown(ssl) & WOLFSSL_RECEIVED_SHUTDOWN ? 0 : -1;
    if (over)
        return -1;
    must(length, "read");
    return -1;
}

void tls_close(void)
{
    wolfSSL_shutdown(ssl);
}
