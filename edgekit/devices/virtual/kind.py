"""What each virtual board is like: its processor, and the files by which its system describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["KINDS", "VCGENCMD", "Kind", "furnish"]


@dataclass(frozen=True)
class Kind:
    """A kind of virtual board.

    Attributes
    ----------
    arch
        As Debian calls it.
    emulator
        The part of QEMU's name that says the processor: ``qemu-aarch64-static``.
    qemu_cpu
        The processor as QEMU calls it: it decides which instructions there are.
    model
        The device tree's model line, as the real board has it, and that it is emulated.
    cpu
        The lines of /proc/cpuinfo for one core.
    clock_khz
        The highest clock of a core.
    """

    arch: str
    emulator: str
    qemu_cpu: str
    model: str
    cpu: str
    clock_khz: int


# /proc/cpuinfo as the boards' kernels write it: parts and features by Arm's manuals and Linux (arch/arm64/kernel/cpuinfo.c). The Cortex-A76
# has the dot product (asimddp), the A72 has not.
_ARM64 = "BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n"
_A72 = _ARM64.format(features="fp asimd evtstrm crc32 cpuid", part="0xd08")
_A76 = _ARM64.format(features="fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp", part="0xd0b")
# The Cortex-A53 of a Pi 3 under a 32-bit kernel. QEMU's 32-bit emulation has none: the A7 has the same Armv7-A instructions (NEON, VFPv4).
_A53_32 = (
    "model name\t: ARMv7 Processor rev 4 (v7l)\nBogoMIPS\t: 38.40\n"
    "Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32\n"
    "CPU implementer\t: 0x41\nCPU architecture: 7\nCPU part\t: 0xd03\n"
)

KINDS = {
    "rpi4": Kind("arm64", "aarch64", "cortex-a72", "Raspberry Pi 4 Model B (emulated)", _A72, 1_500_000),
    "rpi5": Kind("arm64", "aarch64", "cortex-a76", "Raspberry Pi 5 Model B (emulated)", _A76, 2_400_000),
    "rpi3-armv7": Kind("armhf", "arm", "cortex-a7", "Raspberry Pi 3 Model B Plus (emulated)", _A53_32, 1_400_000),
}
"""Target -> what its virtual board is like. The clocks are those of the boards' product briefs."""

_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
VCGENCMD = f"""#!/bin/sh
# Not Broadcom's firmware: it answers from the files of /sys, which stand in for the sensors of this virtual board.
read_sys() {{ cat "/sys/$1"; }}
case ${{1:-}} in
get_throttled) echo "throttled=0x$(read_sys {_THROTTLED})" ;;
measure_temp) read_sys class/thermal/thermal_zone0/temp | sed "s/\\(.*\\)\\(.\\)..$/temp=\\1.\\2'C/" ;;
measure_clock) echo "frequency(0)=$(read_sys devices/system/cpu/cpu0/cpufreq/scaling_cur_freq)000" ;;
version) echo "edgekit's virtual board" ;;
*) echo 'error=1 error_msg="Command not registered"'; exit 255 ;;
esac
"""
"""The program by which a Raspberry Pi tells its throttling (Raspberry Pi documentation, vcgencmd)."""


def furnish(kind: Kind, folder: Path, *, cores: int) -> None:
    """Write what the board's kernel shows into ``folder``: ``cpuinfo``, and a tree ``sys`` whose files are the sensors.

    Whoever writes another number there (see docs/virtual.md) has the board run hot, clock down or throttle.
    """
    (folder / "cpuinfo").write_text("".join(f"processor\t: {core}\n{kind.cpu}\n" for core in range(cores)))
    files = {
        "EDGEKIT_SIMULATED": "temperatures, clocks and throttling here are files, not measurements\n",
        "firmware/devicetree/base/model": f"{kind.model}\0",
        "class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "class/thermal/thermal_zone0/temp": "48200\n",
        _THROTTLED: "0\n",
        **{f"devices/system/cpu/{which}": f"0-{cores - 1}\n" for which in ("possible", "present", "online")},
    }
    for core in range(cores):
        at = f"devices/system/cpu/cpu{core}/cpufreq"
        files |= {f"{at}/{which}_freq": f"{kind.clock_khz}\n" for which in ("scaling_cur", "scaling_max", "cpuinfo_max")}
        files[f"{at}/scaling_governor"] = "ondemand\n"
    for name, text in files.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
