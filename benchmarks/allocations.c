/* Counts the bytes that torch's CPU allocator holds, and their peak: preload it (LD_PRELOAD), then ask it through ctypes.
 *
 * Only what libc10 asks posix_memalign for counts: the tensors. Python, NumPy, Arrow, gloo, the tokenizer and the scratch
 * memory of oneDNN do not. Blocks below a page are passed over.
 *
 *   cc -O2 -shared -fPIC -o allocations.so allocations.c -ldl -lpthread
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LEAST 4096
#define PLACES (1u << 20)

static struct { uintptr_t block; size_t size; } table[PLACES];
static const uintptr_t REMOVED = 1;
static size_t live, peak;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int (*real_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

static unsigned place_of(uintptr_t block) { return (unsigned)((block >> 6) * 2654435761u) % PLACES; }

static int is_of_torch(void *caller) {
    Dl_info found;
    return dladdr(caller, &found) && found.dli_fname && strstr(found.dli_fname, "libc10");
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    if (!real_memalign) real_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    int error = real_memalign(block, alignment, size);
    if (error || size < LEAST || !is_of_torch(__builtin_return_address(0))) return error;
    pthread_mutex_lock(&lock);
    unsigned place = place_of((uintptr_t)*block);
    while (table[place].block > REMOVED) place = (place + 1) % PLACES;
    table[place].block = (uintptr_t)*block;
    table[place].size = size;
    live += size;
    if (live > peak) peak = live;
    pthread_mutex_unlock(&lock);
    return 0;
}

void free(void *block) {
    if (!real_free) real_free = dlsym(RTLD_NEXT, "free");
    /* posix_memalign of torch aligns to 64 bytes; other blocks seldom are, and are then looked up in vain. */
    if (block && (uintptr_t)block % 64 == 0) {
        pthread_mutex_lock(&lock);
        for (unsigned place = place_of((uintptr_t)block); table[place].block; place = (place + 1) % PLACES)
            if (table[place].block == (uintptr_t)block) {
                live -= table[place].size;
                /* A search goes on behind a removed block, unless none lies there. */
                table[place].block = table[(place + 1) % PLACES].block ? REMOVED : 0;
                break;
            }
        pthread_mutex_unlock(&lock);
    }
    real_free(block);
}

size_t live_bytes(void) { return live; }
size_t peak_bytes(void) { return peak; }
void restart_peak(void) {
    pthread_mutex_lock(&lock);
    peak = live;
    pthread_mutex_unlock(&lock);
}
