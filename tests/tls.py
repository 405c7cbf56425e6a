"""TLS before servers that know none: a certificate, and a proxy that ends the encryption."""

import asyncio
import contextlib
import datetime
import ipaddress
import shutil
import ssl
import subprocess
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

_LIMIT = 1 << 20


class Certificate(NamedTuple):
    """Of this machine, signed by itself."""

    certificate: Path
    key: Path

    @property
    def options(self) -> str:
        """What a URL says to trust it."""
        return f"ssl_ca_certs={self.certificate}"


def make_certificate(directory: Path) -> Certificate:
    """A certificate for 127.0.0.1, made with what is there."""
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    try:
        import cryptography
    except ImportError:
        if shutil.which("openssl") is None:
            pytest.skip("there is neither the cryptography package nor openssl")
        _with_openssl(made)
    else:
        assert cryptography
        _with_cryptography(made)
    return made


def _with_openssl(made: Certificate) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*new, *subject, *files], check=True, capture_output=True)


def _with_cryptography(made: Certificate) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    made.certificate.write_bytes(certificate.public_bytes(pem))
    made.key.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))


@contextlib.contextmanager
def tls_proxies(certificate: Certificate, ways: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Proxies with TLS, each from a port to that of a server on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    loop = asyncio.new_event_loop()
    ready, end = threading.Event(), asyncio.Event()

    async def serve() -> None:
        listening = [
            await asyncio.start_server(
                partial(_talk, target), "127.0.0.1", port, ssl=context, limit=_LIMIT
            )
            for port, target in ways
        ]
        ready.set()
        await end.wait()
        for server in listening:
            server.close()
        # What was accepted just now begins first: only then does it close what it has.
        await asyncio.sleep(0)
        while talks := asyncio.all_tasks() - {asyncio.current_task()}:
            for talk in talks:
                talk.cancel()
            await asyncio.wait(talks)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="tls proxy")
    thread.start()
    assert ready.wait(10.0)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10.0)
        loop.close()
    assert not thread.is_alive()


async def _talk(target: int, reader: StreamReader, writer: StreamWriter) -> None:
    """Pass on what either side says, until one of them ends."""
    with contextlib.suppress(OSError, asyncio.CancelledError):
        async with _closing(writer):
            behind = await asyncio.open_connection("127.0.0.1", target, limit=_LIMIT)
            async with _closing(behind[1]):
                ways = [_pass_on(reader, behind[1]), _pass_on(behind[0], writer)]
                tasks = [asyncio.ensure_future(way) for way in ways]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()


@contextlib.asynccontextmanager
async def _closing(writer: StreamWriter) -> AsyncIterator[None]:
    """Closed even if whoever has it is cancelled while it waits for that."""
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_LIMIT):
            writer.write(data)
            await writer.drain()
