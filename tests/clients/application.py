"""Uses a vault as applications do, with hvac. Prints one line for each step: its name and its result.

Arguments: URL of the endpoint, address to connect from, token.
"""

import sys

import hvac
import requests
from requests.adapters import HTTPAdapter


class From(HTTPAdapter):
    """Connects from one address."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **options)


def client(token=None, namespace=None):
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", From(ADDRESS))
    return hvac.Client(url=URL, token=token, namespace=namespace, session=session)


def step(name, action):
    try:
        print(name, action(), flush=True)
    except hvac.exceptions.VaultError as error:
        print(name, type(error).__name__, "|".join(error.errors or [str(error)]), flush=True)


def wrapped():
    root.token = TOKEN
    answer = root.auth.token.create(policies=["default"], wrap_ttl="60s")
    other = client(answer["wrap_info"]["token"])
    return other.sys.unwrap()["auth"]["token_policies"]


def app_role():
    root.auth.approle.create_or_update_approle("hvac", token_policies=["default"])
    role = root.auth.approle.read_role_id("hvac")["data"]["role_id"]
    secret = root.auth.approle.generate_secret_id("hvac")["data"]["secret_id"]
    app = client()
    app.auth.approle.login(role, secret)
    renewed = app.auth.token.renew_self()["auth"]["renewable"]
    name = app.auth.token.lookup_self()["data"]["meta"]["role_name"]
    app.auth.token.revoke_self()
    return f"{app.token != TOKEN} {renewed} {name}"


def transit():
    root.secrets.transit.create_key("orders")
    text = root.secrets.transit.encrypt_data("orders", "aG9yc2U=")["data"]["ciphertext"]
    return root.secrets.transit.decrypt_data("orders", text)["data"]["plaintext"]


def written():
    root.secrets.kv.v2.create_or_update_secret("hvac/one", {"a": "b"}, cas=0)
    root.secrets.kv.v2.patch("hvac/one", {"c": "d"})
    return sorted(root.secrets.kv.v2.read_secret_version("hvac/one")["data"]["data"])


def namespaced():
    team = client(TOKEN, namespace="team-a")
    team.secrets.kv.v1.create_or_update_secret("app", {"of": "team-a"}, mount_point="kv")
    return team.secrets.kv.v1.read_secret("app", mount_point="kv")["data"]["of"]


URL, ADDRESS, TOKEN = sys.argv[1:]
root = client(TOKEN)
step("authenticated", root.is_authenticated)
step("health", lambda: root.sys.read_health_status(method="GET")["sealed"])
step("lookup", lambda: root.auth.token.lookup_self()["data"]["policies"])
step("read", lambda: root.secrets.kv.v2.read_secret_version("app")["data"]["data"]["password"])
step("write", written)
step("list", lambda: root.secrets.kv.v2.list_secrets("hvac")["data"]["keys"])
step("transit", transit)
step("approle", app_role)
step("wrapped", wrapped)
step("namespace", namespaced)
step("mounts", lambda: sorted(root.sys.list_mounted_secrets_engines()["data"]))
