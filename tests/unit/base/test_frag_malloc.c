/* Aim: libzmq's messages land on a page boundary, everybody else gets ordinary memory, every block
 * can be freed and resized anywhere, and memory is used only as far as blocks are in use at once.
 * Method: messages of all sizes through a real socket pair; threads that hand blocks over; the
 * process's own figures. In sanitizer builds malloc is not replaced: then only the alignment of
 * what was asked for is checked. */
#include "base/pool.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { PAYLOAD_MAX = 1 << 20, COUNT = 64, PAGE = 4096 };
static const bool replaced = !LILIO_SANITIZED;

static bool on_page(const void *p)
{
    return (uintptr_t)p % PAGE == 0;
}

static size_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    (void)fclose(file);
    return pages * PAGE;
}

static void test_reserving_costs_nothing(void **state)
{
    (void)state;
    size_t before = resident_bytes();
    base_frag_malloc_reserve(PAYLOAD_MAX, COUNT);
    assert_true(resident_bytes() < before + (1 << 20));
    base_frag_malloc_reserve(2 * PAYLOAD_MAX, 2 * COUNT); /* a second call changes nothing */
}

static void test_take(void **state)
{
    (void)state;
    const size_t sizes[] = {0,      1,      4096,        32767,           32768,  200000,
                            262144, 262145, PAYLOAD_MAX, PAYLOAD_MAX + 1, 5 << 20};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            uint8_t *p = base_frag_malloc_take(sizes[i]);
            assert_true(p && on_page(p));
            memset(p, 0xa5, sizes[i]);
            assert_true(malloc_usable_size(p) >= sizes[i]);
            free(p);
        }
    assert_null(base_frag_malloc_take(SIZE_MAX));
    if (replaced) /* the sanitizers' malloc aborts instead of failing */
        assert_null(base_frag_malloc_take(SIZE_MAX - 10000));
}

/* More blocks than the pool has: the C library helps out; all are distinct. */
static void test_exhaustion(void **state)
{
    (void)state;
    enum { MORE = COUNT + 20 };
    for (size_t size = 100000; size <= PAYLOAD_MAX; size += PAYLOAD_MAX - 100000) {
        uint32_t *blocks[MORE];
        for (uint32_t i = 0; i < MORE; i++) {
            blocks[i] = base_frag_malloc_take(size);
            assert_true(blocks[i] && on_page(blocks[i]));
            blocks[i][0] = blocks[i][size / 4 - 1] = i;
        }
        for (uint32_t i = 0; i < MORE; i++) {
            assert_true(blocks[i][0] == i && blocks[i][size / 4 - 1] == i);
            free(blocks[i]);
        }
    }
}

static void test_resizing(void **state)
{
    (void)state;
    uint8_t *p = base_frag_malloc_take(500000);
    for (int i = 0; i < 500000; i++)
        p[i] = (uint8_t)(i * 7);
    uint8_t *same = realloc(p, 100);
    assert_true(same == p || !replaced);
    uint8_t *moved = realloc(same, 3 << 20);
    assert_non_null(moved);
    for (int i = 0; i < 100; i++)
        assert_int_equal(moved[i], (uint8_t)(i * 7));
    moved[(3 << 20) - 1] = 1;
    free(moved);
    p = realloc(NULL, 100000);
    assert_non_null(p);
    p = reallocarray(p, 1000, 300);
    assert_non_null(p);
    free(p);
    free(NULL);
    if (!replaced)
        return;
    p = base_frag_malloc_take(PAYLOAD_MAX);
    size_t huge = PTRDIFF_MAX;
    void *none = realloc(p, huge); /* fails and leaves it; the compiler believes it is gone */
    assert_null(none);
    if (!none)
        free(p);
}

/* The whole family side by side; what is not libzmq's is aligned as malloc promises. */
static void test_the_rest_of_the_family(void **state)
{
    (void)state;
    for (size_t size = 16; size < 3 << 20; size = size * 3 / 2) {
        void *p[6] = {malloc(size),         calloc(1, size), aligned_alloc(64, size / 64 * 64 + 64),
                      memalign(PAGE, size), valloc(size),    NULL};
        assert_int_equal(posix_memalign(&p[5], 1 << 16, size), 0);
        for (int i = 0; i < 6; i++) {
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
            assert_true(malloc_usable_size(p[i]) >= size);
            memset(p[i], i, size);
        }
        assert_int_equal((uintptr_t)p[3] % PAGE, 0);
        assert_int_equal((uintptr_t)p[5] % (1 << 16), 0);
        for (int i = 0; i < 6; i++) {
            p[i] = realloc(p[i], size + 1000);
            assert_int_equal(*(uint8_t *)p[i], i);
            free(p[i]);
        }
    }
}

/* ---- libzmq ---- */

static void release(void *data, void *hint)
{
    (void)hint;
    free(data);
}

struct pair {
    void *context, *in, *out;
};

static void pair_open(struct pair *pair)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* malloc is not replaced, and each message would be reported as libzmq's race */
#endif
    int no_limit = 0;
    char address[128];
    size_t size = sizeof address;
    pair->context = zmq_ctx_new();
    pair->in = zmq_socket(pair->context, ZMQ_PULL);
    pair->out = zmq_socket(pair->context, ZMQ_PUSH);
    assert_int_equal(zmq_setsockopt(pair->in, ZMQ_RCVHWM, &no_limit, sizeof no_limit), 0);
    assert_int_equal(zmq_setsockopt(pair->out, ZMQ_SNDHWM, &no_limit, sizeof no_limit), 0);
    assert_int_equal(zmq_bind(pair->in, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(pair->in, ZMQ_LAST_ENDPOINT, address, &size), 0);
    assert_int_equal(zmq_connect(pair->out, address), 0);
}

static void pair_close(struct pair *pair)
{
    zmq_close(pair->in);
    zmq_close(pair->out);
    zmq_ctx_term(pair->context);
}

static void send_block(struct pair *pair, size_t size, uint8_t byte)
{
    zmq_msg_t message;
    void *data = base_frag_malloc_take(size);
    assert_non_null(data);
    memset(data, byte, size);
    assert_int_equal(zmq_msg_init_data(&message, data, size, release, NULL), 0);
    assert_int_equal(zmq_msg_send(&message, pair->out, 0), size);
}

/* Whether the received bytes are on a page boundary. */
static bool receive_block(struct pair *pair, size_t size, uint8_t byte, zmq_msg_t *message)
{
    zmq_msg_init(message);
    assert_int_equal(zmq_msg_recv(message, pair->in, 0), size);
    const uint8_t *data = zmq_msg_data(message);
    for (size_t i = 0; i < size; i += 61)
        assert_int_equal(data[i], byte);
    assert_int_equal(data[size - 1], byte);
    return on_page(data);
}

static void test_messages(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    for (size_t size = 1000; size <= 2 * PAYLOAD_MAX; size += size / 7) {
        zmq_msg_t message;
        send_block(&pair, size, (uint8_t)size);
        bool aligned = receive_block(&pair, size, (uint8_t)size, &message);
        if (replaced && size >= 32768 && size <= PAYLOAD_MAX)
            assert_true(aligned);
        zmq_msg_close(&message);
    }
    pair_close(&pair);
}

/* Many messages, few at once: the memory of a few. The bound is generous: 64 blocks would be over
 * 64 MiB. */
static void test_memory_follows_use(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    size_t before = resident_bytes();
    for (unsigned i = 0; i < 300; i++) {
        zmq_msg_t messages[3];
        for (unsigned j = 0; j < 3; j++)
            send_block(&pair, PAYLOAD_MAX, (uint8_t)(i + j));
        for (unsigned j = 0; j < 3; j++)
            receive_block(&pair, PAYLOAD_MAX, (uint8_t)(i + j), &messages[j]);
        for (unsigned j = 0; j < 3; j++)
            zmq_msg_close(&messages[j]);
    }
    if (replaced)
        assert_true(resident_bytes() < before + (20 << 20));
    pair_close(&pair);
}

/* Received messages outnumber the pool: the rest is ordinary memory and right all the same. */
static void test_more_messages_than_blocks(void **state)
{
    (void)state;
    enum { MESSAGES = COUNT + 30 };
    static zmq_msg_t messages[MESSAGES];
    struct pair pair;
    unsigned aligned = 0;
    pair_open(&pair);
    for (unsigned i = 0; i < MESSAGES; i++) {
        send_block(&pair, 300000, (uint8_t)i);
        aligned += receive_block(&pair, 300000, (uint8_t)i, &messages[i]);
    }
    if (replaced)
        assert_in_range(aligned, COUNT - 8, COUNT);
    for (unsigned i = 0; i < MESSAGES; i++)
        zmq_msg_close(&messages[i]);
    pair_close(&pair);
}

/* ---- threads and processes ---- */

enum { THREADS = 4, ROUNDS = 3000, CELLS = 16 };

struct shared {
    pthread_mutex_t lock; /* guards cells */
    uint8_t *cells[CELLS];
};

/* Puts a fresh block into a random cell and frees what another thread had left there. */
static void *hand_over(void *context)
{
    struct shared *shared = context;
    uint64_t seed = (uint64_t)(uintptr_t)&seed;
    struct base_random random = base_random_seeded(&seed);
    size_t failures = 0;
    for (int i = 0; i < ROUNDS; i++) {
        size_t size = 32768 + base_random_u64(&random) % (PAYLOAD_MAX - 32768);
        uint8_t *block = base_frag_malloc_take(size), mark = (uint8_t)size;
        if (!block)
            return (void *)1;
        block[0] = block[PAGE] = block[PAGE * 7] = mark;
        unsigned cell = (unsigned)(base_random_u64(&random) % CELLS);
        pthread_mutex_lock(&shared->lock);
        uint8_t *other = shared->cells[cell];
        shared->cells[cell] = block;
        pthread_mutex_unlock(&shared->lock);
        failures += other && (other[0] != other[PAGE] || other[0] != other[PAGE * 7]);
        free(other);
    }
    return (void *)failures;
}

static void test_threads(void **state)
{
    (void)state;
    struct shared shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hand_over, &shared), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failures;
        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
    for (int i = 0; i < CELLS; i++)
        free(shared.cells[i]);
}

static void test_fork(void **state)
{
    (void)state;
    uint8_t *block = base_frag_malloc_take(PAYLOAD_MAX);
    memset(block, 1, PAYLOAD_MAX);
    pid_t child = fork();
    if (child == 0) {
        uint8_t *other = base_frag_malloc_take(PAYLOAD_MAX);
        memset(other, 2, PAYLOAD_MAX);
        bool good = other != block && block[77] == 1;
        free(block);
        free(other);
        _exit(good ? 42 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_int_equal(block[PAYLOAD_MAX - 1], 1);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserving_costs_nothing), /* first: reserves for all */
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_memory_follows_use), /* before others touch all blocks */
        cmocka_unit_test(test_exhaustion),
        cmocka_unit_test(test_resizing),
        cmocka_unit_test(test_the_rest_of_the_family),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_more_messages_than_blocks),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
