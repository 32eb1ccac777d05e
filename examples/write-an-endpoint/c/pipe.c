/* The carriage of a program behind a relay: units go over standard input and output, each after its length in four
   octets, big-endian. Length 0, or the end of the file, is the end of the session. */

#include <poll.h>
#include <unistd.h>

#include "endpoint.h"

const char carriage_usage[] = "(behind a relay)";

void carriage_open(int count, char **arguments, const char *kind)
{
    (void) arguments, (void) kind;
    if (count != 0)
        fail("arguments that nobody asked for");
}

static void write_all(const unsigned char *octets, size_t length)
{
    for (ssize_t done; length > 0; octets += done, length -= (size_t) done)
        if ((done = write(STDOUT_FILENO, octets, length)) <= 0)
            return; /* the relay has ended, which reading shows */
}

static bool read_all(unsigned char *octets, size_t length)
{
    for (ssize_t done; length > 0; octets += done, length -= (size_t) done)
        if ((done = read(STDIN_FILENO, octets, length)) <= 0)
            return false;
    return true;
}

void carriage_send(const unsigned char *unit, size_t length)
{
    unsigned char head[4] = {length >> 24, length >> 16, length >> 8, length};
    write_all(head, sizeof head);
    write_all(unit, length);
}

int carriage_receive(unsigned char *unit, size_t size, int milliseconds)
{
    static bool over;
    unsigned char head[4];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (over)
        return 0;
    if (poll(&input, 1, milliseconds) == 0)
        return TIMED_OUT;
    if (!read_all(head, sizeof head))
        return over = true, 0;
    size_t length = (size_t) head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
    if (length > size)
        fail("a unit of %zu octets", length);
    over = length == 0 || !read_all(unit, length);
    return over ? 0 : (int) length;
}

void carriage_close(void)
{
    carriage_send(NULL, 0);
}
