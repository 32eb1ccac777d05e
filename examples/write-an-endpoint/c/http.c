/* The carriage over HTTPS with libcurl (7.88 or later): docs/carriage.md, HTTP. One request always waits for the other
   side's next unit, another sends ours. A request without an answer is repeated under its number, which harms nothing. */

#include <curl/curl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"

const char carriage_usage[] = "https://HOST:PORT CA-FILE TOKEN-FILE [ALIAS-TO-OPEN]";

#define LONGEST_WAIT 20 /* seconds that a request for a unit waits at the gateway */
#define TRIES 6
#define NEVER LLONG_MAX

struct request {
    CURL *curl;
    struct curl_slist *fields;
    long status; /* of the answer; 0: none yet, or no answer came */
    bool running;
    long long seq; /* ATLS-Seq of the answer, or -1 */
    long retry_after;
    char location[64];
    unsigned char body[1 << 16];
    size_t length;
};

static struct request sending, polling;
static CURLM *multi;
static char base[256], place[320], bearer[256], media_type[64];
static const char *authority;
static unsigned long long next_sent, next_heard;
static bool over;

static size_t on_field(char *line, size_t size, size_t count, void *of)
{
    struct request *request = of;
    if (strncasecmp(line, "atls-seq:", 9) == 0)
        request->seq = atoll(line + 9);
    if (strncasecmp(line, "retry-after:", 12) == 0)
        request->retry_after = atol(line + 12);
    if (strncasecmp(line, "location:", 9) == 0)
        sscanf(line + 9, " %63[^\r\n]", request->location);
    return size * count;
}

static size_t on_body(char *octets, size_t size, size_t count, void *of)
{
    struct request *request = of;
    if (count > sizeof request->body - request->length)
        return 0; /* ends the request */
    memcpy(request->body + request->length, octets, count);
    request->length += count;
    return size * count;
}

static void add_field(struct request *request, const char *format, unsigned long long number)
{
    char line[128];
    snprintf(line, sizeof line, format, number);
    request->fields = curl_slist_append(request->fields, line);
}

static void begin(struct request *request, const char *method, const char *url)
{
    CURL *curl = request->curl = request->curl ? request->curl : curl_easy_init();
    curl_slist_free_all(request->fields);
    request->fields = curl_slist_append(NULL, bearer);
    request->status = request->retry_after = 0;
    request->length = 0;
    request->seq = -1;
    curl_easy_reset(curl); /* the connection stays */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, authority);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, LONGEST_WAIT + 10L);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_field);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, request);
}

static void set_body(struct request *request, const unsigned char *unit, size_t length)
{
    request->fields = curl_slist_append(request->fields, media_type);
    curl_easy_setopt(request->curl, CURLOPT_POSTFIELDSIZE, (long) length);
    curl_easy_setopt(request->curl, CURLOPT_POSTFIELDS, unit);
}

static void start(struct request *request)
{
    curl_easy_setopt(request->curl, CURLOPT_HTTPHEADER, request->fields);
    curl_multi_add_handle(multi, request->curl);
    request->running = true;
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* Waits until one request is over, while the other goes on; false: not by then, in milliseconds of now(). */
static bool finished(struct request *awaited, long long deadline)
{
    for (;;) {
        int unused;
        curl_multi_perform(multi, &unused);
        for (CURLMsg *message; (message = curl_multi_info_read(multi, &unused)) != NULL;) {
            struct request *request;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &request);
            if (message->data.result == CURLE_OK)
                curl_easy_getinfo(request->curl, CURLINFO_RESPONSE_CODE, &request->status);
            curl_multi_remove_handle(multi, request->curl);
            request->running = false;
        }
        long long rest = deadline - now();
        if (!awaited->running)
            return true;
        if (rest <= 0)
            return false;
        curl_multi_poll(multi, NULL, 0, rest < 1000 ? (int) rest : 1000, NULL);
    }
}

/* Whether the answer asks for the same again: none came, or the gateway is busy. */
static bool again(struct request *request)
{
    static int failures;
    if (request->status != 0 && request->status != 429 && request->status != 503)
        return failures = 0, false;
    if (++failures > TRIES)
        fail("no answer from %s", base);
    sleep(request->retry_after ? (unsigned) request->retry_after : 1U << (failures - 1));
    return true;
}

static void take_unit(struct request *request)
{
    if (request->status != 200 || request->length == 0 || request->seq != (long long) next_heard)
        return;
    keep_unit(request->body, request->length);
    next_heard++;
}

static void ask_for_unit(void)
{
    begin(&polling, "POST", place);
    add_field(&polling, "ATLS-Seq: %llu", next_heard);
    add_field(&polling, "Prefer: wait=%llu", LONGEST_WAIT);
    curl_easy_setopt(polling.curl, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(polling.curl, CURLOPT_POSTFIELDS, "");
    start(&polling);
}

static void open_session(const char *alias)
{
    char url[512];
    unsigned long long nonce[2];
    if (getrandom(nonce, sizeof nonce, 0) != sizeof nonce)
        fail("no random numbers");
    snprintf(url, sizeof url, "%s/atls?to=%s&nonce=%016llx%016llx", base, alias, nonce[0], nonce[1]);
    do { /* the same nonce is the same session */
        begin(&sending, "POST", url);
        set_body(&sending, (const unsigned char *) "", 0);
        start(&sending);
        finished(&sending, NEVER);
    } while (again(&sending));
    if (sending.status != 200 || !sending.location[0])
        fail("the open of %s was refused: %ld %.*s", alias, sending.status, (int) sending.length, sending.body);
    snprintf(place, sizeof place, "%s%s", base, sending.location);
}

/* The list is JSON: [{"session":"0123456789abcdef0123456789abcdef","kind":"adtls","from":"lamp7"}] */
static void await_session(const char *kind)
{
    char url[512], session[33];
    const char *found = NULL;
    snprintf(url, sizeof url, "%s/atls/inbox", base);
    fputs("waiting\n", stderr);
    while (found == NULL) {
        do {
            begin(&polling, "GET", url);
            add_field(&polling, "Prefer: wait=%llu", LONGEST_WAIT);
            polling.fields = curl_slist_append(polling.fields, "Accept: application/json");
            start(&polling);
            finished(&polling, NEVER);
        } while (again(&polling));
        if (polling.status != 200)
            fail("the inbox can't be read: %ld", polling.status);
        polling.body[polling.length < sizeof polling.body ? polling.length : sizeof polling.body - 1] = 0;
        for (const char *entry = (char *) polling.body; (entry = strstr(entry, "\"session\":\"")) != NULL; entry++) {
            const char *of_kind = strstr(entry, "\"kind\":\"");
            if (of_kind && strncmp(of_kind + 8, kind, strlen(kind)) == 0 && of_kind[8 + strlen(kind)] == '"')
                found = entry + 11;
        }
    }
    snprintf(session, sizeof session, "%s", found);
    snprintf(place, sizeof place, "%s/atls/%s", base, session);
}

void carriage_open(int count, char **arguments, const char *kind)
{
    char token[200];
    if (count != 3 && count != 4)
        fail("expected %s", carriage_usage);
    snprintf(base, sizeof base, "%s", arguments[0]);
    authority = arguments[1];
    FILE *file = fopen(arguments[2], "r");
    if (file == NULL || fscanf(file, "%199s", token) != 1)
        fail("no token in %s", arguments[2]);
    fclose(file);
    snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", token);
    snprintf(media_type, sizeof media_type, "Content-Type: application/%s", kind);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    if (count == 4)
        open_session(arguments[3]);
    else
        await_session(kind);
    ask_for_unit();
}

void carriage_send(const unsigned char *unit, size_t length)
{
    do {
        begin(&sending, "POST", place);
        set_body(&sending, unit, length);
        add_field(&sending, "ATLS-Seq: %llu", next_sent);
        start(&sending);
        finished(&sending, NEVER);
    } while (again(&sending));
    next_sent++;
    take_unit(&sending);
    if (sending.status == 404)
        over = true;
    else if (sending.status != 200) /* lost, as a datagram may be */
        fprintf(stderr, "unit %llu: %ld %.*s\n", next_sent - 1, sending.status, (int) sending.length, sending.body);
}

int carriage_receive(unsigned char *unit, size_t size, int milliseconds)
{
    long long deadline = milliseconds == FOR_EVER ? NEVER : now() + milliseconds;
    while (!unit_is_kept() && !over) {
        if (!finished(&polling, deadline))
            return TIMED_OUT;
        take_unit(&polling);
        if (polling.status == 404 || polling.status == 502 || polling.status == 504)
            over = true;
        else if (again(&polling) || polling.status == 200)
            ask_for_unit();
        else
            fail("no unit: %ld %.*s", polling.status, (int) polling.length, polling.body);
    }
    return kept_unit(unit, size);
}

void carriage_close(void)
{
    begin(&sending, "DELETE", place);
    start(&sending);
    finished(&sending, NEVER);
    curl_global_cleanup();
}
