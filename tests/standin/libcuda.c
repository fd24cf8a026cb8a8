/* A test double of NVIDIA's driver library: answers the calls of the CUDA Driver API that the facts of a board ask and that running an
 * engine takes, and no others. Its device memory is the host's, and its one stream does all at once.
 * Compiled as libcuda.so.1 by tests/standin/board.py. What it answers comes from the environment:
 *
 *   STANDIN_GPUS                how many devices there are                (1)
 *   STANDIN_GPU_NAME            name of the first                         (Orin)
 *   STANDIN_COMPUTE_CAPABILITY  of the first                              (8.7)
 *   STANDIN_GPU_MEMORY_MIB      of the first                              (7620)
 *   STANDIN_CUDA                newest CUDA that the driver knows         (12.6)
 *   STANDIN_CUINIT              what cuInit does: a CUDA error to return, "abort", or "hang"   (0)
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static int part(const char *text, int which)
{
    int parts[2] = {0, 0};
    sscanf(text, "%d.%d", &parts[0], &parts[1]);
    return parts[which];
}

int cuInit(unsigned int flags)
{
    const char *what = setting("STANDIN_CUINIT", "0");
    (void)flags;
    if (strcmp(what, "abort") == 0) {
        abort();
    }
    while (strcmp(what, "hang") == 0) {
        pause();
    }
    return atoi(what);
}

int cuDriverGetVersion(int *version)
{
    const char *cuda = setting("STANDIN_CUDA", "12.6");
    *version = 1000 * part(cuda, 0) + 10 * part(cuda, 1);
    return 0;
}

int cuDeviceGetCount(int *count)
{
    *count = atoi(setting("STANDIN_GPUS", "1"));
    return 0;
}

int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device)
{
    (void)device;
    snprintf(name, (size_t)length, "%s", setting("STANDIN_GPU_NAME", "Orin"));
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = part(setting("STANDIN_COMPUTE_CAPABILITY", "8.7"), attribute - 75); /* 75 is major, 76 minor (cuda.h) */
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    (void)device;
    *bytes = (size_t)atol(setting("STANDIN_GPU_MEMORY_MIB", "7620")) << 20;
    return 0;
}

int cuGetErrorName(int code, const char **name)
{
    *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_OF_A_TEST";
    return 0;
}

int cuGetErrorString(int code, const char **text)
{
    *text = code == 2 ? "out of memory" : "an error of a test";
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    (void)device;
    *context = &cuInit;
    return 0;
}

int cuCtxSetCurrent(void *context)
{
    return context == (void *)&cuInit ? 0 : 201; /* CUDA_ERROR_INVALID_CONTEXT */
}

int cuStreamCreate(void **stream, unsigned int flags)
{
    (void)flags;
    *stream = malloc(1);
    return 0;
}

int cuStreamSynchronize(void *stream)
{
    return stream ? 0 : 400; /* CUDA_ERROR_INVALID_HANDLE */
}

int cuMemAllocHost_v2(void **memory, size_t bytes)
{
    *memory = malloc(bytes);
    return *memory ? 0 : 2; /* CUDA_ERROR_OUT_OF_MEMORY */
}

int cuMemGetInfo_v2(size_t *available, size_t *total)
{
    *total = (size_t)atol(setting("STANDIN_GPU_MEMORY_MIB", "7620")) << 20;
    *available = *total / 2;
    return 0;
}

int cuMemAlloc_v2(unsigned long long *address, size_t bytes)
{
    size_t available, total;
    cuMemGetInfo_v2(&available, &total);
    *address = bytes <= available ? (unsigned long long)(size_t)malloc(bytes) : 0;
    return *address ? 0 : 2;
}

int cuMemcpyHtoDAsync_v2(unsigned long long target, const void *source, size_t bytes, void *stream)
{
    memcpy((void *)(size_t)target, source, bytes);
    return cuStreamSynchronize(stream);
}

int cuMemcpyDtoHAsync_v2(void *target, unsigned long long source, size_t bytes, void *stream)
{
    memcpy(target, (void *)(size_t)source, bytes);
    return cuStreamSynchronize(stream);
}

int cuEventCreate(void **event, unsigned int flags)
{
    (void)flags;
    *event = calloc(1, sizeof(struct timespec));
    return *event ? 0 : 2;
}

int cuEventRecord(void *event, void *stream)
{
    clock_gettime(CLOCK_MONOTONIC, event);
    return cuStreamSynchronize(stream);
}

int cuEventElapsedTime(float *milliseconds, void *start, void *end)
{
    const struct timespec *from = start, *to = end;
    *milliseconds = (float)(to->tv_sec - from->tv_sec) * 1e3f + (float)(to->tv_nsec - from->tv_nsec) / 1e6f;
    return from->tv_sec && to->tv_sec ? 0 : 600; /* CUDA_ERROR_NOT_READY */
}
