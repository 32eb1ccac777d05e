/* The carriage over CoAP and DTLS with libcoap (4.3.1 or later): docs/carriage.md, CoAP. It observes the session for what
   comes down; libcoap does DTLS, repetition and blocks. This DTLS is that of the hop to the gateway: layer 1. */

#include <coap3/coap.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "endpoint.h"

const char carriage_usage[] = "HOST PORT PSK-FILE [ALIAS-TO-OPEN]";

static coap_context_t *context;
static coap_session_t *session;
static unsigned content_format;
static char place[33]; /* the session's name */
static unsigned long long next_sent, next_heard;
static bool over;

/* The request under way, and its answer. */
static struct {
    uint8_t token[8];
    size_t token_length;
    coap_pdu_code_t code; /* 0: none yet */
    char location[33];
    char body[2048];
} answer;

/* Notifications have the token of the request that asked for them. */
static uint8_t observing[8];
static size_t observing_length;

static void take_unit(const coap_pdu_t *received)
{
    coap_opt_iterator_t options;
    size_t length, offset, total;
    const uint8_t *octets;
    coap_opt_t *etag = coap_check_option(received, COAP_OPTION_ETAG, &options);
    if (COAP_RESPONSE_CLASS(coap_pdu_get_code(received)) != 2) {
        over = true;
        return;
    }
    if (etag == NULL || !coap_get_data_large(received, &length, &octets, &offset, &total))
        return; /* the first answer has no unit */
    unsigned long long n = 0;
    for (unsigned i = 0; i < coap_opt_length(etag); i++)
        n = n << 8 | coap_opt_value(etag)[i];
    if (n < next_heard)
        return; /* it came twice */
    keep_unit(octets, length);
    next_heard = n + 1;
}

static void take_answer(const coap_pdu_t *received)
{
    coap_opt_iterator_t options;
    size_t length = 0, offset, total;
    const uint8_t *octets = NULL;
    coap_opt_t *option;

    coap_get_data_large(received, &length, &octets, &offset, &total);
    snprintf(answer.body, sizeof answer.body, "%.*s", (int) length, octets ? (const char *) octets : "");
    coap_option_iterator_init(received, &options, COAP_OPT_ALL);
    while ((option = coap_option_next(&options)) != NULL) /* the last part of the path is the session's name */
        if (options.number == COAP_OPTION_LOCATION_PATH)
            snprintf(answer.location, sizeof answer.location, "%.*s", (int) coap_opt_length(option),
                     (const char *) coap_opt_value(option));
    answer.code = coap_pdu_get_code(received);
}

static coap_response_t on_response(coap_session_t *unused, const coap_pdu_t *sent, const coap_pdu_t *received,
                                   const coap_mid_t id)
{
    (void) unused, (void) sent, (void) id;
    coap_bin_const_t token = coap_pdu_get_token(received);
    if (token.length == observing_length && memcmp(token.s, observing, token.length) == 0)
        take_unit(received);
    else if (token.length == answer.token_length && memcmp(token.s, answer.token, token.length) == 0)
        take_answer(received);
    else
        return COAP_RESPONSE_FAIL; /* RST: ends an observation that is of no interest any longer */
    return COAP_RESPONSE_OK;
}

static void on_nack(coap_session_t *unused, const coap_pdu_t *sent, const coap_nack_reason_t reason, const coap_mid_t id)
{
    (void) unused, (void) sent, (void) id;
    if (reason != COAP_NACK_RST)
        fail("the gateway does not answer (%d)", reason);
}

static void add(coap_optlist_t **options, uint16_t number, const char *text)
{
    coap_insert_optlist(options, coap_new_optlist(number, strlen(text), (const uint8_t *) text));
}

static void add_number(coap_optlist_t **options, uint16_t number, unsigned value)
{
    uint8_t octets[4];
    coap_insert_optlist(options, coap_new_optlist(number, coap_encode_var_safe(octets, sizeof octets, value), octets));
}

/* Sends a request for /atls or a path below it. */
static void ask(coap_pdu_code_t code, const char *below, coap_optlist_t *options, const unsigned char *unit,
                size_t length, bool observes)
{
    coap_pdu_t *request = coap_new_pdu(COAP_MESSAGE_CON, code, session);
    answer.code = 0;
    answer.token_length = sizeof answer.token;
    coap_session_new_token(session, &answer.token_length, answer.token);
    coap_add_token(request, answer.token_length, answer.token);
    add(&options, COAP_OPTION_URI_PATH, "atls");
    if (below[0])
        add(&options, COAP_OPTION_URI_PATH, below);
    if (code == COAP_REQUEST_CODE_POST)
        add_number(&options, COAP_OPTION_CONTENT_FORMAT, content_format);
    if (observes)
        add_number(&options, COAP_OPTION_OBSERVE, COAP_OBSERVE_ESTABLISH);
    coap_add_optlist_pdu(request, &options);
    coap_delete_optlist(options);
    if (unit != NULL)
        coap_add_data_large_request(session, request, length, unit, NULL, NULL);
    if (coap_send(session, request) == COAP_INVALID_MID)
        fail("a request can't be sent");
}

static void await_answer(void)
{
    while (answer.code == 0)
        coap_io_process(context, COAP_IO_WAIT);
}

static bool again(void)
{
    static int tries;
    if (answer.code != COAP_RESPONSE_CODE(503) && answer.code != COAP_RESPONSE_CODE(429))
        return tries = 0, false;
    if (++tries > 6)
        fail("the gateway stays busy");
    coap_io_process(context, 1000); /* Max-Age says how long to wait at best */
    return true;
}

static void open_session(const char *alias)
{
    char query[128];
    unsigned long long nonce[2];
    if (getrandom(nonce, sizeof nonce, 0) != sizeof nonce)
        fail("no random numbers");
    do { /* the same nonce is the same session */
        coap_optlist_t *options = NULL;
        snprintf(query, sizeof query, "to=%s", alias);
        add(&options, COAP_OPTION_URI_QUERY, query);
        snprintf(query, sizeof query, "nonce=%016llx%016llx", nonce[0], nonce[1]);
        add(&options, COAP_OPTION_URI_QUERY, query);
        ask(COAP_REQUEST_CODE_POST, "", options, NULL, 0, false);
        await_answer();
    } while (again());
    if (answer.code != COAP_RESPONSE_CODE(201))
        fail("the open of %s was refused: %d.%02d %s", alias, answer.code >> 5, answer.code & 31, answer.body);
    memcpy(place, answer.location, sizeof place);
}

/* The list has the link format: </atls/0123456789abcdef0123456789abcdef>;ct=65001;title="lamp7" */
static void await_session(void)
{
    unsigned format;
    fputs("waiting\n", stderr);
    ask(COAP_REQUEST_CODE_GET, "inbox", NULL, NULL, 0, true);
    for (;; answer.code = 0) {
        await_answer();
        if (answer.code != COAP_RESPONSE_CODE(205))
            fail("the inbox can't be read: %s", answer.body);
        for (const char *entry = answer.body; (entry = strstr(entry, "</atls/")) != NULL; entry++)
            if (sscanf(entry, "</atls/%32[0-9a-f]>;ct=%u", place, &format) == 2 && format == content_format)
                return;
    }
}

static void connect_to(const char *host, const char *port, const char *key_file)
{
    static char identity[128];
    static uint8_t key[64];
    char digits[129];
    size_t length = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found;
    coap_address_t address;

    FILE *file = fopen(key_file, "r");
    if (file == NULL || fscanf(file, "%127[^:]:%128[0-9a-fA-F]", identity, digits) != 2)
        fail("%s: expected identity:hexkey", key_file);
    fclose(file);
    for (; digits[2 * length] && sscanf(digits + 2 * length, "%2hhx", &key[length]) == 1; length++)
        ;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        fail("no address of %s", host);
    coap_address_init(&address);
    address.size = found->ai_addrlen;
    memcpy(&address.addr, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);

    coap_dtls_cpsk_t psk = {
        .version = COAP_DTLS_CPSK_SETUP_VERSION,
        .psk_info = {.identity = {strlen(identity), (uint8_t *) identity}, .key = {length, key}},
    };
    coap_startup();
    context = coap_new_context(NULL);
    coap_context_set_block_mode(context, COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY);
    coap_register_response_handler(context, on_response);
    coap_register_nack_handler(context, on_nack);
    session = coap_new_client_session_psk2(context, NULL, &address, COAP_PROTO_DTLS, &psk);
    if (session == NULL)
        fail("no session with %s", host);
}

void carriage_open(int count, char **arguments, const char *kind)
{
    if (count != 3 && count != 4)
        fail("expected %s", carriage_usage);
    content_format = strcmp(kind, "adtls") == 0 ? 65001 : 65000;
    connect_to(arguments[0], arguments[1], arguments[2]);
    if (count == 4)
        open_session(arguments[3]);
    else
        await_session();
    ask(COAP_REQUEST_CODE_GET, place, NULL, NULL, 0, true);
    observing_length = answer.token_length;
    memcpy(observing, answer.token, sizeof observing);
}

void carriage_send(const unsigned char *unit, size_t length)
{
    char query[32];
    snprintf(query, sizeof query, "n=%llu", next_sent++);
    do {
        coap_optlist_t *options = NULL;
        add(&options, COAP_OPTION_URI_QUERY, query);
        ask(COAP_REQUEST_CODE_POST, place, options, unit, length, false);
        await_answer();
    } while (again());
    if (answer.code == COAP_RESPONSE_CODE(404))
        over = true;
    else if (COAP_RESPONSE_CLASS(answer.code) != 2) /* lost, as a datagram may be */
        fprintf(stderr, "unit %s: %d.%02d %s\n", query, answer.code >> 5, answer.code & 31, answer.body);
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

int carriage_receive(unsigned char *unit, size_t size, int milliseconds)
{
    long long deadline = milliseconds == FOR_EVER ? LLONG_MAX : now() + milliseconds;
    while (!unit_is_kept() && !over) {
        long long rest = deadline - now();
        if (rest <= 0)
            return TIMED_OUT;
        coap_io_process(context, rest < 1000 ? (uint32_t) rest : 1000);
    }
    return kept_unit(unit, size);
}

void carriage_close(void)
{
    ask(COAP_REQUEST_CODE_DELETE, place, NULL, NULL, 0, false);
    await_answer();
    coap_free_context(context);
    coap_cleanup();
}
