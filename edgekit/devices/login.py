"""Opening an SSH session: the way there (hops, proxies), the host key, our keys. Called by `edgekit.devices.ssh`."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import paramiko
from paramiko.pkey import PublicBlob, UnknownKeyType

from edgekit.device import Address
from edgekit.devices.hostkeys import KnownKey, check_host_key, known_keys
from edgekit.devices.route import Route, find_route
from edgekit.devices.shell import command
from edgekit.errors import AuthError, DeviceError, InputError, LinkError
from edgekit.printable import printable

__all__ = ["link_error", "open_transport"]

# paramiko logs what it also raises; without a handler Python would print it on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_HOPS_MAX = 8
# A board asks nothing of an idle link; NAT boxes and radio links forget one after a minute or so.
_KEEPALIVE_S = 5
# A proxy whose connection has closed ends by itself, if it is well.
_PROXY_END_S = 1.0


def open_transport(address: Address, config: str | None = None, *, timeout_s: float, stack: ExitStack) -> paramiko.Transport:
    """Connect, check the host key, log in.

    Parameters
    ----------
    config
        The ssh_config to go by, when it is not the user's.
    stack
        Gets what must be closed afterwards: the session, those of the hops before it, proxy processes.

    Raises
    ------
    DeviceError
        No such name, refused, no answer in time, no SSH there.
    HostKeyError
        The host key is unknown or has changed.
    AuthError
        The board takes none of our keys.
    """
    return _open(find_route(address, config), None, timeout_s, stack, hops=0)


def _open(route: Route, before: paramiko.Transport | None, timeout_s: float, stack: ExitStack, *, hops: int) -> paramiko.Transport:
    if hops > _HOPS_MAX:
        raise InputError(
            f"{route}: ProxyJump leads through more than {_HOPS_MAX} hosts", fix="look for a host that jumps through itself in ssh_config"
        )
    connect_s = route.connect_timeout_s or timeout_s
    if before is None:
        for jump in route.jumps:
            hop = find_route(jump, str(route.config) if route.config else None)
            before = _open(hop, before, timeout_s, stack, hops=hops + 1)
    sock = _socket(route, before, connect_s, timeout_s, stack)
    known = known_keys(route.key_name, route.known_hosts)
    try:
        transport = paramiko.Transport(sock)
        stack.callback(transport.close)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = connect_s
        _prefer(transport, known)
        transport.start_client(timeout=connect_s)
        if not transport.initial_kex_done:
            raise TimeoutError(f"the handshake did not end within {connect_s:g} s")
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise DeviceError(f"{route}: the port is open, but no SSH session came up: {_words(error)}", fix=_try(route)) from error
    check_host_key(route, transport.get_remote_server_key(), known)
    _log_in(transport, route)
    transport.set_keepalive(_KEEPALIVE_S)
    return transport


def _socket(route: Route, before: paramiko.Transport | None, connect_s: float, timeout_s: float, stack: ExitStack) -> Any:
    if before is not None:
        try:
            return before.open_channel("direct-tcpip", (route.host, route.port), ("127.0.0.1", 0), timeout=connect_s)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise DeviceError(f"{route}: the jump host cannot reach it: {_words(error)}", fix=_try(route)) from error
    if route.proxy_command:
        return _proxy(route.proxy_command, stack)
    try:
        sock = socket.create_connection((route.host, route.port), timeout=connect_s)
    except socket.gaierror as error:
        raise DeviceError(
            f"{route}: no such host name: {route.host}", fix="use the IP address, or add the name to ~/.ssh/config"
        ) from error
    except ConnectionRefusedError as error:
        raise DeviceError(
            f"{route}: port {route.port} refuses the connection: no SSH server listens there",
            fix="on the board: sudo systemctl enable --now ssh",
        ) from error
    except TimeoutError as error:
        raise DeviceError(f"{route}: no answer within {connect_s:g} s", fix=f"ping {route.host}") from error
    except OSError as error:
        raise DeviceError(f"{route}: {error.strerror or error}", fix=f"ping {route.host}") from error
    stack.callback(sock.close)
    _bound_silence(sock, timeout_s)
    return sock


def _bound_silence(sock: socket.socket, timeout_s: float) -> None:
    """Let the kernel give a connection up when sent bytes stay unacknowledged that long (tcp(7), TCP_USER_TIMEOUT).

    Nothing else ends a send on a link that has gone: keepalives only wait in the same queue. Small messages go at once, as OpenSSH's do
    (ssh_packet_set_interactive): a job's line must not wait for the answer to the packet before it.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(timeout_s * 1000)))


def _proxy(words: str, stack: ExitStack) -> socket.socket:
    """Run a ProxyCommand on one end of a socket pair, as OpenSSH does: its end is then seen as the end of the link."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(["/bin/sh", "-c", f"exec {words}"], stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
    theirs.close()

    def end() -> None:
        ours.close()
        try:
            process.wait(_PROXY_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    stack.callback(end)
    return ours


def _prefer(transport: paramiko.Transport, known: list[KnownKey]) -> None:
    """Ask for the kinds of key that we know first, or a second key of the board's would look like a change.

    And for ciphers that authenticate by themselves: paramiko puts them last, though its own HMAC makes it slower (measured over loopback:
    37 to 47 MB/s with aes128-ctr, 50 MB/s with aes128-gcm).
    """
    kinds = {entry.key.get_name() for entry in known}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}  # RFC 8332: other signatures, same key
    options = transport.get_security_options()
    options.key_types = tuple(sorted(options.key_types, key=lambda kind: kind not in kinds))
    options.ciphers = tuple(sorted(options.ciphers, key=lambda name: "gcm" not in name))


def _log_in(transport: paramiko.Transport, route: Route) -> None:
    tried: list[str] = []
    with _agent(tried) as agent:
        _try_keys(transport, route, list(agent.get_keys()) if agent else [], tried)


def _try_keys(transport: paramiko.Transport, route: Route, held: list[paramiko.AgentKey], tried: list[str]) -> None:
    for name, key in _candidates(route, held, tried):
        try:
            if not transport.auth_publickey(route.user, key):
                return
            tried.append(f"{name}: accepted, but the board wants a second proof that edgekit does not offer")
        except paramiko.BadAuthenticationType as error:
            raise AuthError(
                f"{route}: the board takes no keys from {route.user}, only {printable(', '.join(error.allowed_types))}", fix=_copy_id(route)
            ) from error
        except paramiko.AuthenticationException as error:
            tried.append(f"{name}: refused" if transport.is_active() else f"{name}: {_words(error)}")
        except (paramiko.SSHException, OSError, EOFError) as error:
            tried.append(f"{name}: {_words(error)}")
        if not transport.is_active():
            tried.append("then the board closed the connection")
            break
    found = "; ".join(tried) if tried else "there is no key file and no agent to try"
    raise AuthError(f"{route}: the board lets {route.user} in with none of our keys ({found})", fix=_copy_id(route))


@contextmanager
def _agent(tried: list[str]) -> Iterator[paramiko.Agent | None]:
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError) as error:
        tried.append(f"the agent: {_words(error)}")
        yield None
        return
    with closing(agent):
        yield agent


def _candidates(route: Route, agent: list[paramiko.AgentKey], tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to try: the configured files first, then what the agent holds besides."""
    for path in route.identity_files:
        held = next((key for key in agent if key.asbytes() == _public(path)), None)
        if held:
            agent.remove(held)
            yield f"{path} (by the agent)", held
            continue
        try:
            yield str(path), paramiko.PKey.from_path(path)
        except FileNotFoundError:
            continue
        except (paramiko.PasswordRequiredException, TypeError):
            tried.append(f"{path}: has a passphrase and is not in the agent (ssh-add {path})")
        except ValueError:  # older paramikos say this of a passphrase, too
            tried.append(f"{path}: is no key that can be read, or has a passphrase and is not in the agent (ssh-add {path})")
        except (paramiko.SSHException, UnknownKeyType, OSError) as error:
            tried.append(f"{path}: {_words(error)}")
    if not route.identities_only:
        for key in agent:
            yield f"{key.get_name()} {key.fingerprint} of the agent", key


def _public(path: Path) -> bytes | None:
    """Read the public half that lies beside a key file."""
    try:
        blob: bytes = PublicBlob.from_file(f"{path}.pub").key_blob
    except (OSError, ValueError):
        return None
    return blob


def _copy_id(route: Route) -> str:
    return command(["ssh-copy-id", *route.ssh_options(), f"{route.user}@{route.alias}"])


def _try(route: Route) -> str:
    return command(["ssh", "-v", *route.ssh_options(), f"{route.user}@{route.alias}", "true"])


def _words(error: BaseException) -> str:
    """Say what an error of paramiko's means; its texts may be empty."""
    return printable(str(error).strip()) or {"EOFError": "the connection was closed"}.get(type(error).__name__, type(error).__name__)


def link_error(where: str, error: BaseException) -> LinkError:
    """Turn the many ways in which paramiko reports a lost connection into one."""
    return LinkError(f"{where}: the connection broke ({_words(error)})", fix="run the same command again: it goes on where it stopped")
