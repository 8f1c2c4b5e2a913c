// Uses a vault as applications do, with the libraries for Azure Key Vault. Prints one line for each step: its name and
// its result.
//
// Arguments: URL of the endpoint, address to connect from, token.

"use strict";
const http = require("node:http");
const { createDefaultHttpClient } = require("@azure/core-rest-pipeline");
const { SecretClient } = require("@azure/keyvault-secrets");
const { CryptographyClient, KeyClient } = require("@azure/keyvault-keys");
const { CertificateClient } = require("@azure/keyvault-certificates");

const [endpoint, localAddress, token] = process.argv.slice(2);
const vault = "https://main.vault.test";
const version = "0123456789abcdef0123456789abcdef";
const horse = Buffer.from("horse");

// Sends requests for the vault to the endpoint, from one address. It takes the place of a proxy that terminates TLS, and
// of a name in DNS.
const agent = new http.Agent({ keepAlive: true, localAddress });
const real = createDefaultHttpClient();
const httpClient = {
  async sendRequest(request) {
    const { url } = request;
    Object.assign(request, { agent, allowInsecureConnection: true, url: url.replace(vault, endpoint) });
    try {
      return await real.sendRequest(request);
    } finally {
      request.url = url;
    }
  },
};

// A token that is there already; the scope is the one of the vault's challenge.
const credential = {
  async getToken(scopes) {
    if (String(scopes) !== "https://vault.test/.default") throw new Error(`scopes: ${scopes}`);
    return { token, expiresOnTimestamp: Date.now() + 3600 * 1000 };
  },
};

async function step(name, action) {
  try {
    console.log(name, await action());
  } catch (error) {
    if (!error.code || !error.statusCode) throw error;
    // For a list, the library has only the code of the error.
    const inner = error.details?.error.innerError.code ?? "-";
    console.log(name, error.statusCode, error.code, inner, error.message);
  }
}

async function names(items) {
  const found = [];
  for await (const item of items) found.push(item.name);
  return found.join(",");
}

async function done(begin) {
  const poller = await begin;
  return poller.pollUntilDone();
}

async function secrets(client) {
  const soon = { intervalInMs: 10 };
  await step("secret-set", async () => (await client.setSecret("db", "aG9yc2U")).value);
  await step("secret-get", async () => (await client.getSecret("db")).value);
  await step("secret-version", async () => (await client.getSecret("db", { version })).properties.version);
  await step("secret-list", () => names(client.listPropertiesOfSecrets()));
  await step("secret-versions", () => names(client.listPropertiesOfSecretVersions("db")));
  await step("secret-update", async () => (await client.updateSecretProperties("db", version, { enabled: true })).name);
  await step("secret-backup", async () => Buffer.from(await client.backupSecret("db")).toString());
  await step("secret-restore", async () => (await client.restoreSecretBackup(horse)).name);
  await step("secret-delete", async () => (await done(client.beginDeleteSecret("db", soon))).name);
  await step("secret-deleted", async () => (await client.getDeletedSecret("db")).name);
  await step("secret-deleted-list", () => names(client.listDeletedSecrets()));
  await step("secret-recover", async () => (await done(client.beginRecoverDeletedSecret("db", soon))).name);
  await step("secret-purge", () => client.purgeDeletedSecret("db"));
}

async function keys(client) {
  const soon = { intervalInMs: 10 };
  await step("key-create", async () => (await client.createRsaKey("sign")).name);
  await step("key-import", async () => (await client.importKey("sign", { kty: "oct-HSM", k: horse })).name);
  await step("key-get", async () => (await client.getKey("sign")).name);
  await step("key-version", async () => (await client.getKey("sign", { version })).properties.version);
  await step("key-attestation", async () => (await client.getKeyAttestation("sign", { version })).name);
  await step("key-list", () => names(client.listPropertiesOfKeys()));
  await step("key-versions", () => names(client.listPropertiesOfKeyVersions("sign")));
  await step("key-update", async () => (await client.updateKeyProperties("sign", version, { enabled: true })).name);
  await step("key-rotate", async () => (await client.rotateKey("sign")).name);
  await step("key-policy", async () => (await client.getKeyRotationPolicy("sign")).lifetimeActions.length);
  await step("key-policy-update", async () => {
    const policy = await client.updateKeyRotationPolicy("sign", { expiresIn: "P90D", lifetimeActions: [] });
    return policy.lifetimeActions.length;
  });
  await step("key-backup", async () => Buffer.from(await client.backupKey("sign")).toString());
  await step("key-restore", async () => (await client.restoreKeyBackup(horse)).name);
  await step("key-release", async () => (await client.releaseKey("sign", "attestation", { version })).value);
  await step("key-random", async () => Buffer.from(await client.getRandomBytes(5)).toString());
  await step("key-delete", async () => (await done(client.beginDeleteKey("sign", soon))).name);
  await step("key-deleted", async () => (await client.getDeletedKey("sign")).name);
  await step("key-deleted-list", () => names(client.listDeletedKeys()));
  await step("key-recover", async () => (await done(client.beginRecoverDeletedKey("sign", soon))).name);
  await step("key-purge", () => client.purgeDeletedKey("sign"));
  for (const id of [`${vault}/keys/sign/${version}`, `${vault}/keys/sign`]) {
    const crypto = new CryptographyClient(id, credential, { httpClient });
    const text = (bytes) => Buffer.from(bytes).toString();
    const digest = Buffer.alloc(32, "0");
    // Of these algorithms, the library does none itself.
    const algorithm = "A256GCM";
    const vector = { iv: Buffer.from("0123456789ab"), authenticationTag: Buffer.from("0123456789abcdef") };
    await step("encrypt", async () => text((await crypto.encrypt({ algorithm, plaintext: horse })).result));
    await step("decrypt", async () => text((await crypto.decrypt({ algorithm, ciphertext: horse, ...vector })).result));
    await step("wrap", async () => text((await crypto.wrapKey("A256KW", horse)).result));
    await step("unwrap", async () => text((await crypto.unwrapKey("A256KW", horse)).result));
    await step("sign", async () => text((await crypto.sign("RS256", digest)).result));
    await step("verify", async () => (await crypto.verify("RS256", digest, horse)).result);
  }
}

async function certificates(client) {
  const soon = { intervalInMs: 10 };
  const policy = { issuerName: "Self", subject: "CN=web" };
  const operation = async (act) => {
    const poller = await client.getCertificateOperation("web");
    return act(poller);
  };
  await step("certificate-create", async () => (await done(client.beginCreateCertificate("web", policy, soon))).name);
  await step("certificate-operation", () => operation((poller) => poller.getOperationState().certificateName));
  await step("certificate-cancel", () => operation((poller) => poller.cancelOperation()));
  await step("certificate-operation-delete", async () => (await client.deleteCertificateOperation("web")).name);
  await step("certificate-merge", async () => (await client.mergeCertificate("web", [horse])).name);
  await step("certificate-import", async () => (await client.importCertificate("web", horse)).name);
  await step("certificate-get", async () => (await client.getCertificate("web")).name);
  await step("certificate-version", async () => (await client.getCertificateVersion("web", version)).name);
  await step("certificate-list", () => names(client.listPropertiesOfCertificates()));
  await step("certificate-versions", () => names(client.listPropertiesOfCertificateVersions("web")));
  await step("certificate-update", async () => {
    const updated = await client.updateCertificateProperties("web", version, { enabled: true });
    return updated.name;
  });
  await step("certificate-policy", async () => (await client.getCertificatePolicy("web")).issuerName);
  await step("certificate-policy-update", async () => (await client.updateCertificatePolicy("web", policy)).issuerName);
  await step("certificate-backup", async () => Buffer.from(await client.backupCertificate("web")).toString());
  await step("certificate-restore", async () => (await client.restoreCertificateBackup(horse)).name);
  await step("certificate-delete", async () => (await done(client.beginDeleteCertificate("web", soon))).name);
  await step("certificate-deleted", async () => (await client.getDeletedCertificate("web")).name);
  await step("certificate-deleted-list", () => names(client.listDeletedCertificates()));
  await step("certificate-recover", async () => (await done(client.beginRecoverDeletedCertificate("web", soon))).name);
  await step("certificate-purge", () => client.purgeDeletedCertificate("web"));
  await step("contacts-set", async () => (await client.setContacts([{ email: "owner@example.com" }]))[0].email);
  await step("contacts-get", async () => (await client.getContacts())[0].email);
  await step("contacts-delete", () => client.deleteContacts());
  await step("issuer-create", async () => (await client.createIssuer("corp-ca", "Test")).provider);
  await step("issuer-get", async () => (await client.getIssuer("corp-ca")).provider);
  await step("issuer-list", () => names(client.listPropertiesOfIssuers()));
  await step("issuer-update", async () => (await client.updateIssuer("corp-ca", { enabled: true })).provider);
  await step("issuer-delete", async () => (await client.deleteIssuer("corp-ca")).provider);
}

async function main() {
  const client = (Kind) => new Kind(vault, credential, { httpClient });
  await secrets(client(SecretClient));
  await keys(client(KeyClient));
  await certificates(client(CertificateClient));
  agent.destroy();
}

main();
