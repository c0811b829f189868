/* Counts what Mbed TLS allocates in a MicroPython of the unix port. tools/tls_memory.py builds it and loads it before
 * the program's libraries. Whenever more is in use than ever, it appends a line to the file MICROIPA_TLS_MEMORY:
 * bytes at the fullest moment, bytes when an association ended, both as asked for and as the heap of a chip counts
 * them, and the six largest blocks. It needs no headers: few machines have those for 32 bits.
 */
typedef unsigned long size;

extern void *__libc_calloc(size, size);
extern void __libc_free(void *);
extern int dladdr(void *, void *);
extern char *getenv(const char *);
extern char *strstr(const char *, const char *);
extern int open(const char *, int, int);
extern long write(int, const void *, size);

enum { PLACES = 1 << 16, LARGEST = 6, FIGURES = LARGEST + 4, WIDTH = 10 };
enum { BLOCK = 16, NODE = 8 };  /* of a heap with 32-bit words; two pointers that m_tracked_calloc() puts before each */
enum { BUFFER = 4096 };         /* of a record; Mbed TLS frees the buffers first when an association ends */
enum { APPEND = 02101 };        /* O_APPEND | O_CREAT | O_WRONLY */

static struct { void *start; size bytes; } live[PLACES];
static size in_use, in_heap;
static size figures[FIGURES];
enum { PEAK, PEAK_IN_HEAP, HELD, HELD_IN_HEAP, FIRST_LARGEST };

static size as_in_heap(size bytes) { return (bytes + NODE + BLOCK - 1) / BLOCK * BLOCK; }

static size place_of(void *start) {
    size place = ((size)start >> 4) % PLACES;
    for (size n = 0; n < PLACES && live[place].start && live[place].start != start; n++)
        place = (place + 1) % PLACES;
    return place;
}

static void write_down(void) {
    static int file = -1;
    char text[FIGURES * (WIDTH + 1)];
    const char *name = getenv("MICROIPA_TLS_MEMORY");
    if (file < 0 && name)
        file = open(name, APPEND, 0600);
    for (int i = 0; i < FIGURES; i++) {
        char *digit = text + i * (WIDTH + 1) + WIDTH;
        *digit = i + 1 < FIGURES ? ' ' : '\n';
        size number = figures[i];
        for (int n = 0; n < WIDTH; n++, number /= 10)
            *--digit = (char)('0' + number % 10);
    }
    if (file >= 0 && write(file, text, sizeof text) < 0)
        file = -1;
}

static int is_mbedtls(void *caller) {
    void *where[4] = {0}; /* Dl_info: the name of the file first */
    if (!dladdr(caller, where) || !where[0])
        return 0;
    return strstr(where[0], "mbed") || strstr(where[0], "micropython");
}

static void keep_largest(size bytes) {
    for (int i = FIRST_LARGEST; i < FIGURES; i++)
        if (bytes > figures[i]) {
            size smaller = figures[i];
            figures[i] = bytes;
            bytes = smaller;
        }
}

void *calloc(size number, size each) {
    void *start = __libc_calloc(number, each);
    if (start && is_mbedtls(__builtin_return_address(0))) {
        size place = place_of(start), bytes = number * each;
        live[place].start = start;
        live[place].bytes = bytes;
        in_use += bytes;
        in_heap += as_in_heap(bytes);
        if (in_heap > figures[PEAK_IN_HEAP]) {
            figures[PEAK] = in_use;
            figures[PEAK_IN_HEAP] = in_heap;
            keep_largest(bytes);
            write_down();
        }
    }
    return start;
}

void free(void *start) {
    size place = place_of(start);
    if (start && live[place].start == start && live[place].bytes) {
        if (live[place].bytes > BUFFER && in_heap > figures[HELD_IN_HEAP]) {
            figures[HELD] = in_use;
            figures[HELD_IN_HEAP] = in_heap;
            write_down();
        }
        in_use -= live[place].bytes;
        in_heap -= as_in_heap(live[place].bytes);
        live[place].bytes = 0; /* the place stays that of this address, which comes again */
    }
    __libc_free(start);
}
