/* Between the stack and the carriage. A DTLS datagram is a unit as it is. The octets of a TLS stream are gathered until
   the stack wants to read, so that a flight goes as one unit, and are handed to the stack in the bits that it asks for. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"

static bool datagrams;
static FILE *recorded;
static unsigned char out[LONGEST_PIECE], in[1 << 16];
static size_t gathered, from, until;

void units_start(bool datagrams_, const char *record)
{
    datagrams = datagrams_;
    if (record != NULL && (recorded = fopen(record, "w")) == NULL)
        fail("can't write %s", record);
}

static void note(const char *what, const unsigned char *unit, size_t length)
{
    if (recorded == NULL)
        return;
    fprintf(recorded, "%s ", what);
    for (size_t i = 0; i < length; i++)
        fprintf(recorded, "%02x", unit[i]);
    fputc('\n', recorded);
    fflush(recorded);
}

static void send_unit(const unsigned char *unit, size_t length)
{
    note("sent", unit, length);
    carriage_send(unit, length);
}

void units_write(const void *octets, size_t length)
{
    const unsigned char *next = octets;
    if (datagrams) {
        send_unit(next, length);
        return;
    }
    while (length > 0) {
        size_t part = length < sizeof out - gathered ? length : sizeof out - gathered;
        memcpy(out + gathered, next, part);
        gathered += part, next += part, length -= part;
        if (gathered == sizeof out)
            units_flush();
    }
}

void units_flush(void)
{
    if (gathered > 0)
        send_unit(out, gathered);
    gathered = 0;
}

int units_read(void *octets, size_t size, int milliseconds)
{
    units_flush();
    if (from == until) {
        int length = carriage_receive(in, sizeof in, milliseconds);
        if (length <= 0)
            return length;
        note("heard", in, (size_t) length);
        from = 0, until = (size_t) length;
    }
    size_t part = until - from < size ? until - from : size;
    memcpy(octets, in + from, part);
    from = datagrams ? until : from + part; /* what does not fit of a datagram is lost */
    return (int) part;
}

static struct kept {
    struct kept *next;
    size_t length;
    unsigned char octets[];
} *first, **last = &first;

void keep_unit(const unsigned char *unit, size_t length)
{
    struct kept *kept = malloc(sizeof *kept + length);
    if (kept == NULL)
        fail("out of memory");
    *kept = (struct kept) {.length = length};
    memcpy(kept->octets, unit, length);
    *last = kept, last = &kept->next;
}

bool unit_is_kept(void)
{
    return first != NULL;
}

int kept_unit(unsigned char *unit, size_t size)
{
    struct kept *kept = first;
    if (kept == NULL)
        return 0;
    if (kept->length > size)
        fail("a unit of %zu octets", kept->length);
    int length = (int) kept->length;
    memcpy(unit, kept->octets, kept->length);
    first = kept->next;
    last = first == NULL ? &first : last;
    free(kept);
    return length;
}
