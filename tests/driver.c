/* A CUDA driver on the CPU: what edge/cuda asks of libcuda.so.1, and stricter than NVIDIA's.

Work waits in its stream until somebody synchronizes. New memory is not zero. A copy must stay
within one block of memory that the driver gave out, when it is queued and when it runs. Whatever
is left when the process ends, or alive when the last context is released, is told on stderr.

DRIVER_DEVICES (1), DRIVER_MEMORY (bytes, 1 GiB) and DRIVER_INTEGRATED (0) in the environment say
what device there is. cuLaunchHostFunc queues work of the test's own, driverFail a failure. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
    INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901
};
enum { HOST = 1, DEVICE = 2, UNIFIED = 4 };  /* CUmemorytype */
enum { DEVICEMAP = 2, INTEGRATED = 18, MAJOR = 75, MINOR = 76 };

typedef struct {
    size_t src_x, src_y;
    int src_type;
    const void *src_host;
    uintptr_t src_device;
    void *src_array;
    size_t src_pitch, dst_x, dst_y;
    int dst_type;
    void *dst_host;
    uintptr_t dst_device;
    void *dst_array;
    size_t dst_pitch, width, height;
} Copy;  /* CUDA_MEMCPY2D */

typedef struct { Copy copy; void (*function)(void *); void *data; int failure; } Work;
typedef struct { Work *work; size_t count; } Queue;
typedef struct { Queue queue, *captured; int invalidated; } Stream;
typedef struct Block {
    char *start;
    size_t size;
    int host, mapped;
    struct Block *next;
} Block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* of the blocks and the counts */
static Block *blocks;
static size_t used;
static int initialized, failed, context, retained, streams, graphs, invalidated;
static __thread int pushed;
static __thread Stream *capturing;

static size_t setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void count(int *of, int change) {
    pthread_mutex_lock(&lock);
    *of += change;
    pthread_mutex_unlock(&lock);
}

static void tell(const char *when) {
    int host = 0, device = 0;
    if (failed) return;  /* nothing can be freed any more */
    for (Block *block = blocks; block; block = block->next) block->host ? host++ : device++;
    if (host + device + streams + graphs)
        fprintf(stderr, "left when %s: %d host, %d device, %d streams, %d graphs\n", when, host,
                device, streams, graphs);
}

__attribute__((destructor)) static void end(void) {
    tell("the process ends");
    if (retained) fprintf(stderr, "left when the process ends: the context, %d times\n", retained);
    /* A release pops nothing. */
    if (pushed) fprintf(stderr, "current when the process ends: the context, %d times\n", pushed);
}

/* What every call needs: no failure before it and a living context in the thread. */
#define READY \
    if (failed) return failed; \
    if (!pushed || !retained) return INVALID_CONTEXT

/* What a capture in the calling thread forbids and does not survive. */
#define NOT_CAPTURED \
    if (capturing) { \
        capturing->invalidated = 1; \
        return CAPTURE_UNSUPPORTED; \
    }

/* Errors */

static const struct { int code; const char *name, *text; } ERRORS[] = {
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
};

static int describe(int code, const char **name, const char **text) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) {
            *name = ERRORS[i].name;
            *text = ERRORS[i].text;
            return SUCCESS;
        }
    return INVALID_VALUE;
}

int cuGetErrorName(int code, const char **name) {
    const char *text;
    return describe(code, name, &text);
}

int cuGetErrorString(int code, const char **text) {
    const char *name;
    return describe(code, &name, text);
}

/* The library, the device and its primary context */

int cuDriverGetVersion(int *version) {
    *version = 12060;
    return SUCCESS;
}

int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    char name[128];
    void *self = dlopen("libcuda.so.1", RTLD_LAZY);
    (void)version, (void)flags;
    snprintf(name, sizeof name, "%s_v2", symbol);
    if (!(*function = dlsym(self, name))) *function = dlsym(self, symbol);
    return *function ? SUCCESS : NOT_FOUND;
}

int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                        int *status) {
    int error = cuGetProcAddress(symbol, function, version, flags);
    if (status) *status = error ? 1 : 0;
    return error;
}

int cuInit(unsigned flags) {
    (void)flags;
    if (!setting("DRIVER_DEVICES", 1)) return NO_DEVICE;
    initialized = 1;
    return SUCCESS;
}

int cuDeviceGetCount(int *number) {
    *number = (int)setting("DRIVER_DEVICES", 1);
    return initialized ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int *device, int ordinal) {
    if (!initialized) return NOT_INITIALIZED;
    *device = ordinal;
    return ordinal < (int)setting("DRIVER_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "CPU %d", device);
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == INTEGRATED ? (int)setting("DRIVER_INTEGRATED", 0)
             : attribute == MAJOR    ? 8
             : attribute == MINOR    ? 7
                                     : 0;
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void **made, int device) {
    if (device) return INVALID_DEVICE;
    count(&retained, 1);
    *made = &context;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    if (device || !retained) return INVALID_CONTEXT;
    count(&retained, -1);
    if (!retained) tell("the context is released");
    return SUCCESS;
}

int cuCtxPushCurrent_v2(void *made) {
    if (made != &context || !retained) return INVALID_CONTEXT;
    pushed++;
    return SUCCESS;
}

int cuCtxPopCurrent_v2(void **made) {
    if (!pushed) return INVALID_CONTEXT;
    pushed--;
    if (made) *made = &context;
    return SUCCESS;
}

int cuCtxGetCurrent(void **made) {
    *made = pushed ? &context : NULL;
    return SUCCESS;
}

/* Memory */

static int allocate(void **start, size_t size, int host, int mapped) {
    Block *block;
    READY;
    NOT_CAPTURED;
    if (!size) return INVALID_VALUE;
    if (!host && used + size > setting("DRIVER_MEMORY", 1 << 30)) return OUT_OF_MEMORY;
    block = malloc(sizeof *block);
    *start = memset(aligned_alloc(256, (size + 255) / 256 * 256), 0xA5, size);
    pthread_mutex_lock(&lock);
    *block = (Block){*start, size, host, mapped, blocks};
    blocks = block;
    if (!host) used += size;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

static int release(void *start, int host) {
    int error = INVALID_VALUE;
    READY;
    NOT_CAPTURED;
    pthread_mutex_lock(&lock);
    for (Block **at = &blocks; *at; at = &(*at)->next)
        if ((*at)->start == start && (*at)->host == host) {
            Block *block = *at;
            *at = block->next;
            if (!host) used -= block->size;
            free(block->start);
            free(block);
            error = SUCCESS;
            break;
        }
    pthread_mutex_unlock(&lock);
    return error;
}

int cuMemAlloc_v2(uintptr_t *pointer, size_t size) {
    return allocate((void **)pointer, size, 0, 0);
}

int cuMemFree_v2(uintptr_t pointer) { return release((void *)pointer, 0); }

int cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
    return allocate(pointer, size, 1, flags & DEVICEMAP);
}

int cuMemFreeHost(void *pointer) { return release(pointer, 1); }

/* Whether `size` bytes from `start` lie in one block, of a kind that `type` may name. */
static int known(uintptr_t start, size_t size, int type) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (Block *block = blocks; block; block = block->next) {
        uintptr_t first = (uintptr_t)block->start;
        if (start < first || start + size > first + block->size) continue;
        found = type == UNIFIED || (type == HOST ? block->host : !block->host || block->mapped);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

int cuMemHostGetDevicePointer_v2(uintptr_t *pointer, void *host, unsigned flags) {
    (void)flags;
    READY;
    *pointer = (uintptr_t)host;
    return known(*pointer, 1, HOST) && known(*pointer, 1, DEVICE) ? SUCCESS : INVALID_VALUE;
}

/* Streams: work queued, then done at synchronize */

static void append(Queue *queue, const Work *work, size_t number) {
    queue->work = realloc(queue->work, (queue->count + number + 1) * sizeof *work);
    memcpy(queue->work + queue->count, work, number * sizeof *work);
    queue->count += number;
}

static int enqueue(Stream *stream, Work work) {
    READY;
    if (stream->invalidated) return CAPTURE_INVALIDATED;
    append(stream->captured ? stream->captured : &stream->queue, &work, 1);
    return SUCCESS;
}

static uintptr_t source(const Copy *copy) {
    return (copy->src_type == HOST ? (uintptr_t)copy->src_host : copy->src_device) + copy->src_x +
           copy->src_y * copy->src_pitch;
}

static uintptr_t target(const Copy *copy) {
    return (copy->dst_type == HOST ? (uintptr_t)copy->dst_host : copy->dst_device) + copy->dst_x +
           copy->dst_y * copy->dst_pitch;
}

static int sound(const Copy *copy) {
    return copy->width && copy->height && copy->src_pitch >= copy->width &&
           copy->dst_pitch >= copy->width &&
           known(source(copy), (copy->height - 1) * copy->src_pitch + copy->width,
                 copy->src_type) &&
           known(target(copy), (copy->height - 1) * copy->dst_pitch + copy->width, copy->dst_type);
}

static int run(const Work *work) {
    if (work->failure) return work->failure;
    if (work->function) {
        work->function(work->data);
        return SUCCESS;
    }
    if (!sound(&work->copy)) return ILLEGAL_ADDRESS;
    for (size_t row = 0; row < work->copy.height; row++)
        memcpy((char *)target(&work->copy) + row * work->copy.dst_pitch,
               (char *)source(&work->copy) + row * work->copy.src_pitch, work->copy.width);
    return SUCCESS;
}

int cuMemcpy2DAsync_v2(const Copy *copy, Stream *stream) {
    READY;
    return sound(copy) ? enqueue(stream, (Work){.copy = *copy}) : INVALID_VALUE;
}

int cuLaunchHostFunc(Stream *stream, void (*function)(void *), void *data) {
    return enqueue(stream, (Work){.function = function, .data = data});
}

int driverFail(Stream *stream, int error) { return enqueue(stream, (Work){.failure = error}); }

int cuStreamCreate(Stream **stream, unsigned flags) {
    READY;
    if (flags != 1) return INVALID_VALUE;  /* CU_STREAM_NON_BLOCKING: no other is asked for */
    *stream = calloc(1, sizeof **stream);
    count(&streams, 1);
    return SUCCESS;
}

int cuStreamDestroy_v2(Stream *stream) {
    READY;
    free(stream->queue.work);
    free(stream);
    count(&streams, -1);
    return SUCCESS;
}

int cuStreamSynchronize(Stream *stream) {
    Queue queue;
    READY;
    NOT_CAPTURED;
    queue = stream->queue;
    stream->queue = (Queue){0};
    for (size_t i = 0; i < queue.count && !failed; i++) failed = run(&queue.work[i]);
    free(queue.work);
    return failed;
}

/* Graphs */

int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    READY;
    if (mode != 1 || capturing) return INVALID_VALUE;  /* thread-local: no other is asked for */
    capturing = stream;
    stream->captured = calloc(1, sizeof *stream->captured);
    count(&graphs, 1);
    return SUCCESS;
}

int cuGraphDestroy(Queue *graph) {
    free(graph->work);
    free(graph);
    count(&graphs, -1);
    return SUCCESS;
}

int cuGraphExecDestroy(Queue *graph) { return cuGraphDestroy(graph); }

int driverInvalidated(void) { return invalidated; }

int cuStreamEndCapture(Stream *stream, Queue **graph) {
    int broken = stream->invalidated;
    READY;
    if (capturing != stream) return INVALID_VALUE;
    *graph = stream->captured;
    capturing = NULL;
    stream->captured = NULL;
    stream->invalidated = 0;
    if (!broken) return SUCCESS;
    count(&invalidated, 1);
    cuGraphDestroy(*graph);
    *graph = NULL;
    return CAPTURE_INVALIDATED;
}

int cuGraphInstantiateWithFlags(Queue **executable, Queue *graph, uint64_t flags) {
    READY;
    NOT_CAPTURED;
    if (flags) return INVALID_VALUE;
    *executable = calloc(1, sizeof **executable);
    append(*executable, graph->work, graph->count);
    count(&graphs, 1);
    return SUCCESS;
}

int cuGraphInstantiate(Queue **executable, Queue *graph, uint64_t flags) {  /* since CUDA 12 */
    return cuGraphInstantiateWithFlags(executable, graph, flags);
}

int cuGraphLaunch(Queue *executable, Stream *stream) {
    READY;
    NOT_CAPTURED;
    append(&stream->queue, executable->work, executable->count);
    return SUCCESS;
}
