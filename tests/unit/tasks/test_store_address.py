"""Every form of KINGPOST_REDIS_URL means the same to redis-py and to Celery, or is refused with one sentence."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cli.stack.embedded_valkey import why_silent
from tasks.celery_app import make_app
from tasks.errors import SettingsError
from tasks.settings import Settings
from tasks.store.job_store import connect
from tasks.store_address import shown
from tests.valkey import Valkey


def loaded(url: str) -> Settings:
    return Settings.load({"KINGPOST_REDIS_URL": url})


def both_answer(url: str) -> None:
    settings = loaded(url)
    assert connect(settings).ping()
    with make_app(settings).connection_for_read() as connection:
        assert connection.default_channel.client.ping()


def kombus(settings: Settings) -> dict[str, Any]:
    """What Celery's connection would be made with."""
    from kombu.transport.redis import Channel

    connection = make_app(settings).connection_for_write()
    channel = object.__new__(Channel)
    channel.connection = type("Transport", (), {"client": connection, "default_port": 6379})()
    return channel._connparams()


class Behind(socketserver.BaseRequestHandler):
    """Passes what came by TLS on to the store, and its answers back."""

    server: "TlsStore"

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self.server.store) as store:
            self.request.do_handshake()
            back = threading.Thread(target=self._pass, args=(store, self.request), daemon=True)
            back.start()
            self._pass(self.request, store)
            store.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while given := here.recv(65536):
                there.sendall(given)


class TlsStore(socketserver.ThreadingTCPServer):
    """The shared store behind TLS, with a certificate that it signed itself."""

    daemon_threads = True

    def __init__(self, valkey: Valkey, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Behind)
        self.store = ("127.0.0.1", valkey.port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def self_signed(path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key.private_bytes(*plain) + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def tls(valkey: Valkey, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a store behind TLS, and its certificate."""
    certificate = self_signed(tmp_path / "store.pem")
    with TlsStore(valkey, certificate) as server:
        yield f"rediss://127.0.0.1:{server.server_address[1]}/0", certificate
        server.shutdown()


def test_a_store_behind_tls(tls: tuple[str, Path]) -> None:
    url, certificate = tls
    both_answer(f"{url}?ssl_cert_reqs=CERT_NONE")
    both_answer(f"{url}?ssl_ca_certs={certificate}")
    why = why_silent(loaded(url).redis_url, retries=0)
    assert why and "certificate verify failed" in why and "\n" not in why


def test_a_unix_socket_in_either_spelling(valkey: Valkey) -> None:
    both_answer(f"unix://{valkey.socket}?db=3")
    both_answer(f"redis+socket://{valkey.socket}?virtual_host=3")
    settings = loaded(f"redis+socket://{valkey.socket}?virtual_host=3")
    connect(settings).set("where", "here")
    with redis.Redis(port=valkey.port, db=3) as client:
        assert client.get("where") == b"here"
    assert kombus(settings)["db"] == 3


def test_tcp_with_a_database(valkey: Valkey) -> None:
    both_answer(f"redis://127.0.0.1:{valkey.port}/2")
    both_answer(f"redis://127.0.0.1:{valkey.port}")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", ssl.CERT_REQUIRED),
        ("?ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE),
        ("?ssl_cert_reqs=Optional", ssl.CERT_OPTIONAL),
        ("?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem", ssl.CERT_REQUIRED),
    ],
)
def test_tls_means_the_same_to_both(said: str, wanted: ssl.VerifyMode) -> None:
    settings = loaded(f"rediss://:p%40ss@store.example:6380/1{said}")
    pool = connect(settings).connection_pool
    ours = pool.connection_class(**pool.connection_kwargs)
    theirs = kombus(settings)
    assert isinstance(ours, redis.SSLConnection)
    assert ours.cert_reqs == wanted
    assert issubclass(theirs["connection_class"], redis.SSLConnection)
    assert theirs["ssl_cert_reqs"] == wanted
    assert theirs["password"] == "p@ss" == pool.connection_kwargs["password"]
    assert theirs.get("ssl_ca_certs") == pool.connection_kwargs.get("ssl_ca_certs")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sentinel://:secret@10.0.0.1:26379/mymaster", "Sentinel"),
        ("amqp://user:secret@broker//", "amqp://"),
        ("localhost:6379", "localhost"),
        ("", "no scheme"),
        ("redis://:secret@store:port/0", "not an address"),
        ("redis://:secret@store:6379/zero", "database 'zero'"),
        ("redis://:secret@store:6379/0?ssl_cert_reqs=none", "rediss://"),
        ("redis://:secret@store:6379/0?socket_timeout=3", "socket_timeout"),
        ("rediss://:secret@store:6379/0?ssl_cert_reqs=maybe", "ssl_cert_reqs=maybe"),
        ("unix://relative/path", "absolute path"),
        ("redis://[::1/0", "not an address"),
    ],
)
def test_what_one_of_them_cannot_use_is_refused_and_no_password_shown(url: str, word: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(url)
    said = str(refused.value)
    assert said.startswith("KINGPOST_REDIS_URL ")
    assert word in said
    assert "secret" not in said
    assert "\n" not in said


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("redis://user:secret@store:6379/0") == "redis://store:6379/0"
    assert shown("unix:///run/x.sock?db=0&password=secret") == "unix:///run/x.sock"
