"""Uses a vault as applications do, with the libraries for Azure Key Vault. Prints one line for each step: its name and
its result.

Arguments: URL of the endpoint, address to connect from, token.
"""

import sys
import time

import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.certificates import (
    CertificateClient,
    CertificateContact,
    CertificatePolicy,
)
from azure.keyvault.keys import JsonWebKey, KeyClient, KeyRotationPolicy
from azure.keyvault.keys.crypto import (
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from azure.keyvault.secrets import SecretClient
from requests.adapters import HTTPAdapter

VAULT = "https://main.vault.test"
VERSION = "0123456789abcdef0123456789abcdef"
HORSE = b"horse"


class ThroughEndpoint(HTTPAdapter):
    """Sends requests for the vault to the endpoint, from one address. It takes the place of a proxy that terminates
    TLS, and of a name in DNS."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(ADDRESS, 0), **options)

    def send(self, request, **options):
        request.url = request.url.replace(VAULT, ENDPOINT, 1)
        return super().send(request, **options)


class Credential:
    """A token that is there already; the scope is the one of the vault's challenge."""

    def get_token(self, *scopes, **options):
        assert scopes == ("https://vault.test/.default",), scopes
        return AccessToken(TOKEN, int(time.time()) + 3600)


def client(kind):
    session = requests.Session()
    session.trust_env = False
    session.mount(VAULT, ThroughEndpoint())
    transport = RequestsTransport(session=session, session_owner=False)
    return kind(vault_url=VAULT, credential=Credential(), transport=transport)


def step(name, action):
    try:
        print(name, action(), flush=True)
    except HttpResponseError as error:
        if not error.error:
            raise
        inner = error.error.innererror
        print(name, error.status_code, error.error.code, inner["code"], error.error.message, flush=True)


def names(items):
    return ",".join(item.name for item in items)


def main():
    secrets, keys, certificates = client(SecretClient), client(KeyClient), client(CertificateClient)
    step("secret-set", lambda: secrets.set_secret("db", "aG9yc2U").value)
    step("secret-get", lambda: secrets.get_secret("db").value)
    step("secret-version", lambda: secrets.get_secret("db", VERSION).properties.version)
    step("secret-list", lambda: names(secrets.list_properties_of_secrets()))
    step("secret-versions", lambda: names(secrets.list_properties_of_secret_versions("db")))
    step("secret-update", lambda: secrets.update_secret_properties("db", VERSION, content_type="text").name)
    step("secret-backup", lambda: secrets.backup_secret("db").decode())
    step("secret-restore", lambda: secrets.restore_secret_backup(HORSE).name)
    step("secret-delete", lambda: secrets.begin_delete_secret("db").result().name)
    step("secret-deleted", lambda: secrets.get_deleted_secret("db").name)
    step("secret-deleted-list", lambda: names(secrets.list_deleted_secrets()))
    step("secret-recover", lambda: secrets.begin_recover_deleted_secret("db").result().name)
    step("secret-purge", lambda: secrets.purge_deleted_secret("db"))

    step("key-create", lambda: keys.create_rsa_key("sign").name)
    step("key-import", lambda: keys.import_key("sign", JsonWebKey(kty="oct-HSM", k=HORSE)).name)
    step("key-get", lambda: keys.get_key("sign").name)
    step("key-version", lambda: keys.get_key("sign", VERSION).properties.version)
    step("key-attestation", lambda: keys.get_key_attestation("sign", VERSION).name)
    step("key-list", lambda: names(keys.list_properties_of_keys()))
    step("key-versions", lambda: names(keys.list_properties_of_key_versions("sign")))
    step("key-update", lambda: keys.update_key_properties("sign", VERSION, enabled=True).name)
    step("key-rotate", lambda: keys.rotate_key("sign").name)
    step("key-policy", lambda: keys.get_key_rotation_policy("sign").lifetime_actions)
    step(
        "key-policy-update",
        lambda: keys.update_key_rotation_policy("sign", KeyRotationPolicy(expires_in="P90D")).lifetime_actions,
    )
    step("key-backup", lambda: keys.backup_key("sign").decode())
    step("key-restore", lambda: keys.restore_key_backup(HORSE).name)
    step("key-release", lambda: keys.release_key("sign", "attestation", version=VERSION).value)
    step("key-random", lambda: keys.get_random_bytes(5).decode())
    step("key-delete", lambda: keys.begin_delete_key("sign").result().name)
    step("key-deleted", lambda: keys.get_deleted_key("sign").name)
    step("key-deleted-list", lambda: names(keys.list_deleted_keys()))
    step("key-recover", lambda: keys.begin_recover_deleted_key("sign").result().name)
    step("key-purge", lambda: keys.purge_deleted_key("sign"))
    for version in [VERSION, None]:
        crypto = keys.get_cryptography_client("sign", key_version=version)
        # Of these algorithms, the library does none itself.
        algorithm, wrap, signature = EncryptionAlgorithm.a256_gcm, KeyWrapAlgorithm.rsa_oaep, SignatureAlgorithm.rs256
        vector = {"iv": b"0123456789ab", "authentication_tag": b"0123456789abcdef"}
        step("encrypt", lambda: crypto.encrypt(algorithm, HORSE).ciphertext.decode())
        step("decrypt", lambda: crypto.decrypt(algorithm, HORSE, **vector).plaintext.decode())
        step("wrap", lambda: crypto.wrap_key(wrap, HORSE).encrypted_key.decode())
        step("unwrap", lambda: crypto.unwrap_key(wrap, HORSE).key.decode())
        step("sign", lambda: crypto.sign(signature, b"0" * 32).signature.decode())
        step("verify", lambda: crypto.verify(signature, b"0" * 32, HORSE).is_valid)

    policy = CertificatePolicy.get_default()
    contact = CertificateContact(email="owner@example.com")
    step("certificate-create", lambda: certificates.begin_create_certificate("web", policy).result().name)
    step("certificate-operation", lambda: certificates.get_certificate_operation("web").name)
    step("certificate-cancel", lambda: certificates.cancel_certificate_operation("web").name)
    step("certificate-operation-delete", lambda: certificates.delete_certificate_operation("web").name)
    step("certificate-merge", lambda: certificates.merge_certificate("web", [HORSE]).name)
    step("certificate-import", lambda: certificates.import_certificate("web", HORSE).name)
    step("certificate-get", lambda: certificates.get_certificate("web").name)
    step("certificate-version", lambda: certificates.get_certificate_version("web", VERSION).name)
    step("certificate-list", lambda: names(certificates.list_properties_of_certificates()))
    step("certificate-versions", lambda: names(certificates.list_properties_of_certificate_versions("web")))
    step("certificate-update", lambda: certificates.update_certificate_properties("web", VERSION, enabled=True).name)
    step("certificate-policy", lambda: certificates.get_certificate_policy("web").issuer_name)
    step("certificate-policy-update", lambda: certificates.update_certificate_policy("web", policy).issuer_name)
    step("certificate-backup", lambda: certificates.backup_certificate("web").decode())
    step("certificate-restore", lambda: certificates.restore_certificate_backup(HORSE).name)
    step("certificate-delete", lambda: certificates.begin_delete_certificate("web").result().name)
    step("certificate-deleted", lambda: certificates.get_deleted_certificate("web").name)
    step("certificate-deleted-list", lambda: names(certificates.list_deleted_certificates()))
    step("certificate-recover", lambda: certificates.begin_recover_deleted_certificate("web").result().name)
    step("certificate-purge", lambda: certificates.purge_deleted_certificate("web"))
    step("contacts-set", lambda: certificates.set_contacts([contact])[0].email)
    step("contacts-get", lambda: certificates.get_contacts()[0].email)
    step("contacts-delete", lambda: certificates.delete_contacts()[0].email)
    step("issuer-create", lambda: certificates.create_issuer("corp-ca", "Test").provider)
    step("issuer-get", lambda: certificates.get_issuer("corp-ca").provider)
    step("issuer-list", lambda: names(certificates.list_properties_of_issuers()))
    step("issuer-update", lambda: certificates.update_issuer("corp-ca", enabled=True).provider)
    step("issuer-delete", lambda: certificates.delete_issuer("corp-ca").provider)


ENDPOINT, ADDRESS, TOKEN = sys.argv[1:]
main()
