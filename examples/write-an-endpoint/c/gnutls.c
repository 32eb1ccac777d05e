/* GnuTLS: push and pull functions in the place of a socket. Certificates and PSK, TLS 1.3 and DTLS 1.2, both roles. */

#include <errno.h>
#include <gnutls/dtls.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "endpoint.h"

static gnutls_session_t session;
static const struct options *ours;

static ssize_t push(gnutls_transport_ptr_t unused, const void *octets, size_t length)
{
    (void) unused;
    units_write(octets, length);
    return (ssize_t) length;
}

/* What pull_timeout got; GnuTLS asks whether something is there before it fetches a datagram. */
static unsigned char arrived[1 << 14];
static int arrived_length = TIMED_OUT;

static int pull_timeout(gnutls_transport_ptr_t unused, unsigned int milliseconds)
{
    (void) unused;
    if (arrived_length == TIMED_OUT)
        arrived_length = units_read(arrived, sizeof arrived,
                                    milliseconds == GNUTLS_INDEFINITE_TIMEOUT ? FOR_EVER : (int) milliseconds);
    return arrived_length != TIMED_OUT;
}

static ssize_t pull(gnutls_transport_ptr_t unused, void *octets, size_t size)
{
    (void) unused;
    if (!ours->datagrams)
        return units_read(octets, size, FOR_EVER);
    if (arrived_length == TIMED_OUT && !pull_timeout(NULL, GNUTLS_INDEFINITE_TIMEOUT)) {
        gnutls_transport_set_errno(session, EAGAIN);
        return -1;
    }
    size_t part = (size_t) arrived_length < size ? (size_t) arrived_length : size;
    memcpy(octets, arrived, part);
    if (arrived_length > 0)
        arrived_length = TIMED_OUT; /* the end of the session stays */
    return (ssize_t) part;
}

static int find_psk(gnutls_session_t unused, const char *identity, gnutls_datum_t *key)
{
    (void) unused;
    if (strcmp(identity, ours->identity) != 0)
        return -1;
    key->data = gnutls_malloc(ours->secret_length); /* GnuTLS frees it */
    key->size = (unsigned) ours->secret_length;
    memcpy(key->data, ours->secret, ours->secret_length);
    return 0;
}

static void must(int result, const char *what)
{
    if (result < 0)
        fail("%s: %s", what, gnutls_strerror(result));
}

static void set_certificate(void)
{
    gnutls_certificate_credentials_t credentials;
    must(gnutls_certificate_allocate_credentials(&credentials), "certificate");
    must(gnutls_certificate_set_x509_key_file(credentials, ours->certificate, ours->key, GNUTLS_X509_FMT_PEM), "key");
    must(gnutls_certificate_set_x509_trust_file(credentials, ours->authorities, GNUTLS_X509_FMT_PEM), "authorities");
    must(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), "certificate");
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_cert(session, ours->peer, 0);
}

static void set_psk(void)
{
    if (ours->server) {
        gnutls_psk_server_credentials_t credentials;
        must(gnutls_psk_allocate_server_credentials(&credentials), "PSK");
        gnutls_psk_set_server_credentials_function(credentials, find_psk);
        must(gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials), "PSK");
    } else {
        gnutls_psk_client_credentials_t credentials;
        const gnutls_datum_t key = {(unsigned char *) ours->secret, (unsigned) ours->secret_length};
        must(gnutls_psk_allocate_client_credentials(&credentials), "PSK");
        must(gnutls_psk_set_client_credentials(credentials, ours->identity, &key, GNUTLS_PSK_KEY_RAW), "PSK");
        must(gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials), "PSK");
    }
}

const char *tls_start(const struct options *options)
{
    unsigned flags = (options->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | (options->datagrams ? GNUTLS_DATAGRAM : 0);
    int result;

    ours = options;
    must(gnutls_init(&session, flags | GNUTLS_NO_TICKETS), "init"); /* nothing is resumed */
    must(gnutls_priority_set_direct(session, options->identity[0] ? "NORMAL:-KX-ALL:+ECDHE-PSK:+DHE-PSK"
                                                                  : "NORMAL:-RSA", NULL), "priorities");
    if (options->identity[0])
        set_psk();
    else
        set_certificate();
    gnutls_transport_set_push_function(session, push);
    gnutls_transport_set_pull_function(session, pull);
    gnutls_transport_set_pull_timeout_function(session, pull_timeout);
    if (options->datagrams) {
        gnutls_dtls_set_mtu(session, LONGEST_DATAGRAM);
        gnutls_dtls_set_timeouts(session, FIRST_TIMEOUT * 1000, LAST_TIMEOUT * 1000);
    } else {
        gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT);
    }
    do
        result = gnutls_handshake(session);
    while (result < 0 && !gnutls_error_is_fatal(result));
    if (result < 0)
        gnutls_alert_send_appropriate(session, result);
    must(result, "handshake");
    return gnutls_session_get_desc(session);
}

void tls_write(const void *octets, size_t length)
{
    for (ssize_t done; length > 0; octets = (const char *) octets + done, length -= (size_t) done)
        must((int) (done = gnutls_record_send(session, octets, length)), "write");
}

int tls_read(void *octets, size_t size)
{
    ssize_t length;
    do
        length = gnutls_record_recv(session, octets, size);
    while (length == GNUTLS_E_AGAIN || length == GNUTLS_E_INTERRUPTED);
    if (length == GNUTLS_E_PREMATURE_TERMINATION || length == GNUTLS_E_PULL_ERROR)
        return -1;
    must((int) length, "read");
    return (int) length;
}

void tls_close(void)
{
    gnutls_bye(session, GNUTLS_SHUT_WR);
}
