/* An endpoint of layer 0 in C. Three things, each of which can be exchanged without a look at the others:

   the stack      mbedtls.c, wolfssl.c or gnutls.c     TLS or DTLS between this endpoint and the other one
   the units      units.c                              what the stack writes and reads, as units of a session
   the carriage   pipe.c, http.c or coap.c             how units get to the gateway

   endpoint.c has main and the conversation. One file of each kind makes a program:
   gcc -Wall -o device endpoint.c units.c gnutls.c http.c -lgnutls -lcurl */

#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#define LONGEST_DATAGRAM 1152 /* octets of a DTLS unit that every gateway takes (docs/carriage.md) */
#define LONGEST_PIECE 4096    /* the same of a piece of a TLS stream */
#define FIRST_TIMEOUT 9       /* seconds to the first retransmission of a DTLS flight, doubled each time (RFC 7925, 11) */
#define LAST_TIMEOUT 60

struct options {
    bool server;
    bool datagrams;                  /* DTLS; else TLS */
    const char *certificate, *key;   /* PEM files; NULL: no certificate */
    const char *authorities;         /* PEM file; whom to trust */
    const char *peer;                /* name that the other end's certificate must have; NULL: any under authorities */
    char identity[129];              /* of the PSK; empty: no PSK */
    unsigned char secret[64];
    size_t secret_length;
};

/* endpoint.c */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn)); /* says why, ends the program */

/* The stack. Each function ends the program by fail() if the other end can't be trusted or breaks the protocol. */
const char *tls_start(const struct options *options);          /* does the handshake; returns what was agreed on */
void tls_write(const void *octets, size_t length);             /* one message; in DTLS one record */
int tls_read(void *octets, size_t size);                       /* octets read; 0: the other end's close_notify came;
                                                                  -1: the session ended without one */
void tls_close(void);                                          /* sends close_notify */

/* The units. */
void units_start(bool datagrams, const char *record);          /* record: file for each unit in hexadecimal, or NULL */
void units_write(const void *octets, size_t length);           /* a datagram, or some octets of the stream */
int units_read(void *octets, size_t size, int milliseconds);   /* a datagram, or the next octets of the stream;
                                                                  0: the session is over; TIMED_OUT: nothing in time */
void units_flush(void);                                        /* TLS: what was gathered goes out */
void keep_unit(const unsigned char *unit, size_t length);      /* for a carriage: one that came before its time */
bool unit_is_kept(void);
int kept_unit(unsigned char *unit, size_t size);               /* takes the oldest; 0: there is none */
#define TIMED_OUT (-1)
#define FOR_EVER (-1)

/* The carriage. `kind` is adtls or atls, as in docs/carriage.md; `usage` says which arguments it takes. */
extern const char carriage_usage[];
void carriage_open(int count, char **arguments, const char *kind);
void carriage_send(const unsigned char *unit, size_t length);
int carriage_receive(unsigned char *unit, size_t size, int milliseconds); /* as units_read */
void carriage_close(void);

#endif
