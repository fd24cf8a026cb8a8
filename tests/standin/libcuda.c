/* A test double of NVIDIA's driver library: answers the calls of the CUDA Driver API that the facts of a board ask, and no others.
 * Compiled as libcuda.so.1 by tests/standin/board.py; it computes nothing. What it answers comes from the environment:
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
