/* A test double of NVIDIA's management library: answers the calls by which the state of a PC's GPU is read, and no others.
 * What it answers comes from the environment:
 *
 *   STANDIN_NVML_GPUS     how many devices there are                                  (1)
 *   STANDIN_NVML_MHZ      clock of the streaming multiprocessors, "now/highest"       (1500/1980)
 *   STANDIN_NVML_REASONS  bits of what slows the clock down, in decimal               (0)
 *   STANDIN_NVML_ERROR    what every call but the start returns                       (0)
 */
#include <stdio.h>
#include <stdlib.h>

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static int answer(void)
{
    return atoi(setting("STANDIN_NVML_ERROR", "0"));
}

static int clock_of(int kind, int which, unsigned int *mhz)
{
    unsigned int clocks[2] = {0, 0};
    sscanf(setting("STANDIN_NVML_MHZ", "1500/1980"), "%u/%u", &clocks[0], &clocks[1]);
    *mhz = clocks[which];
    return kind == 1 ? answer() : 2; /* NVML_CLOCK_SM, NVML_ERROR_INVALID_ARGUMENT */
}

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = (unsigned int)atoi(setting("STANDIN_NVML_GPUS", "1"));
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
    static int here;
    *device = &here;
    return index == 0 ? 0 : 2;
}

int nvmlDeviceGetClockInfo(void *device, int kind, unsigned int *mhz)
{
    (void)device;
    return clock_of(kind, 0, mhz);
}

int nvmlDeviceGetMaxClockInfo(void *device, int kind, unsigned int *mhz)
{
    (void)device;
    return clock_of(kind, 1, mhz);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    (void)device;
    *reasons = (unsigned long long)atoll(setting("STANDIN_NVML_REASONS", "0"));
    return answer();
}
