/** Keys and secrets as the command takes them, from flags, variables and files, and the tokens that it makes. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt, decodeProtectedHeader, exportPKCS8, exportSPKI, generateKeyPair, jwtVerify } from "jose";
import { mistakeIn, serveHere, tokenOf } from "../support/command-line.ts";
import { runCommand } from "../support/server.ts";
import { topicsUrl } from "../support/topics.ts";

setDefaultTimeout(120_000);

const secret = "the first secret of more than 32 bytes";
const otherSecret = "the second secret of more than 32 bytes";

const folder = await mkdtemp(join(tmpdir(), "longwire-token-"));
afterAll(() => rm(folder, { recursive: true }));

let filesWritten = 0;

async function file(text: string): Promise<string> {
  const path = join(folder, `${++filesWritten}`);
  await writeFile(path, text);
  return path;
}

const verify = (token: string, key: string) => jwtVerify(token, new TextEncoder().encode(key));

describe("longwire token", () => {
  test("prints a token of what was asked for, signed with HS256, and nothing else", async () => {
    const before = Math.floor(Date.now() / 1000);
    const flags = [
      "--subscribe",
      "chat/*,news",
      "--subscribe",
      "a",
      "--publish",
      "chat/1",
      "--end",
      "chat/2",
      "--sub",
      "ann",
    ];
    const ended = await runCommand(["token", "--jwt-secret", secret, ...flags, "--ttl", "10m"]);
    expect(ended).toEqual({ exitCode: 0, output: expect.stringMatching(/^\S+\n$/), errors: "" });
    const token = ended.output.trim();
    expect(decodeProtectedHeader(token)).toEqual({ alg: "HS256", typ: "JWT" });
    const { payload } = await verify(token, secret);
    const { iat = 0, exp = 0, ...claims } = payload;
    expect(claims).toEqual({
      sub: "ann",
      subscribe: ["chat/*", "news", "a"],
      publish: ["chat/1"],
      end: ["chat/2"],
    });
    expect(iat).toBeWithin(before, before + 20);
    expect(exp - iat).toBe(600);
  });

  test("makes a token without a subject and for an hour by default", async () => {
    const flags = ["--jwt-secret", secret, "--subscribe", "news"];
    const { iat = 0, exp = 0, ...claims } = decodeJwt(await tokenOf(flags));
    expect(claims).toEqual({ subscribe: ["news"], publish: [], end: [] });
    expect(exp - iat).toBe(3600);
  });

  test("makes a member of the subject, with what others see of it, and lets it read who is here", async () => {
    const subject = ["--jwt-secret", secret, "--sub", "ann", "--subscribe", "room/*"];
    for (const [flags, claims] of [
      [["--member"], { member: true }],
      [["--member", "true"], { member: true }],
      [["--member", "false"], {}],
      [["--member", '{"name":"Ann"}'], { member: { name: "Ann" } }],
      [
        ['--member={"name":"Ann"}', "--presence", "room/*,hall"],
        { member: { name: "Ann" }, presence: ["room/*", "hall"] },
      ],
    ] as const) {
      const { iat, exp, ...made } = decodeJwt(await tokenOf([...subject, ...flags]));
      expect(made).toEqual({ sub: "ann", subscribe: ["room/*"], publish: [], end: [], ...claims });
    }
  });

  test("gives no permission by the variable of the server's own --presence", async () => {
    const flags = ["--jwt-secret", secret, "--subscribe", "room/*"];
    const token = await tokenOf(flags, { LONGWIRE_PRESENCE: "room/*" });
    expect(decodeJwt(token)).not.toHaveProperty("presence");
  });

  test("takes the secret from a file or a variable, and of several the first", async () => {
    const path = await file(`\n${secret}\n${otherSecret}\n`);
    const status = ["--status", "true"];
    await verify(await tokenOf(["--jwt-secret-file", path, ...status]), secret);
    const variable = { LONGWIRE_JWT_SECRET: `${secret},${otherSecret}` };
    await verify(await tokenOf(status, variable), secret);
    await verify(await tokenOf(status, { LONGWIRE_JWT_SECRET_FILE: path }), secret);
  });

  test("is taken by the server that was given the same file", async () => {
    const path = await file(`${otherSecret}\n${secret}\n`);
    await using server = await serveHere(["--jwt-secret-file", path]);
    const headers = {
      Authorization: `Bearer ${await tokenOf(["--jwt-secret-file", path, "--subscribe", "a"])}`,
    };
    expect((await fetch(topicsUrl(server, "a"), { headers })).status).toBe(200);
    expect((await fetch(topicsUrl(server, "b"), { headers })).status).toBe(403);
  });

  const mistakes: Record<string, { flags: string[]; said: string }> = {
    "no secret": { flags: [], said: "--jwt-secret is needed" },
    "a token that allows nothing": {
      flags: ["--jwt-secret", secret, "--sub", "ann"],
      said: "give it --subscribe, --publish or --end",
    },
    "a secret that is too short": { flags: ["--jwt-secret", "hunter2hunter2"], said: "at least 32 bytes" },
    "a pattern with a star in its middle": { flags: ["--subscribe", "a*b"], said: "prefixes that end in *" },
    "a member that is no JSON": { flags: ["--member", "{name"], said: 'such as {"name":"Ann"}' },
    "a member that is a list": { flags: ["--member", "[1]"], said: 'such as {"name":"Ann"}' },
    "a member that is too large": {
      flags: ["--member", JSON.stringify({ text: "x".repeat(1014) })],
      said: "at most 1024 bytes",
    },
    "a member without a subject": {
      flags: ["--jwt-secret", secret, "--subscribe", "a", "--member"],
      said: "--member needs --sub",
    },
    "a time without its unit": { flags: ["--ttl", "600"], said: "90s" },
    "a time of nothing": { flags: ["--ttl", "0s"], said: "a time from 1" },
    "a flag of the server": { flags: ["--port", "0"], said: "--port" },
    "a word too many": { flags: ["chat/*"], said: "argument" },
  };
  for (const [name, { flags, said }] of Object.entries(mistakes)) {
    test(`ends with 2 and one line of words for ${name}`, async () => {
      const errors = await mistakeIn(["token", ...flags]);
      expect(errors).toStartWith("longwire: ");
      expect(errors).toContain(said);
      expect(errors.trimEnd().split("\n")).toHaveLength(1);
      expect(errors).not.toContain("hunter2");
    });
  }
});

describe("a key or secret", () => {
  const wrong: Record<string, string[]> = {
    "as a flag": ["--api-key", "hunter2"],
    "behind an equals sign": ["--jwt-secret=hunter2"],
    "as one of several": ["--api-key", `${"x".repeat(16)},hunter2`],
  };
  for (const [name, flags] of Object.entries(wrong)) {
    test(`that is too short ends the command with 2 and is not shown: ${name}`, async () => {
      const errors = await mistakeIn(flags);
      expect(errors).toContain("at least");
      expect(errors).not.toContain("hunter2");
      expect(errors).not.toContain("xxxx");
    });
  }

  test("that is too short in a variable or a file is not shown either", async () => {
    const environment = { LONGWIRE_API_KEY: "hunter2" };
    const flags = ["--api-key-file", await file("hunter2\n")];
    for (const errors of [await mistakeIn([], environment), await mistakeIn(flags)]) {
      expect(errors).toContain("--api-key must be secrets of at least 16 bytes");
      expect(errors).not.toContain("hunter2");
    }
  });

  test("that was given and is empty does not leave the server open: it ends with 2", async () => {
    const empty = await file(" \n\n");
    for (const flag of ["api-key", "jwt-secret", "jwt-public-key", "jwks-url"]) {
      const variable = `LONGWIRE_${flag.toUpperCase().replaceAll("-", "_")}`;
      const errors = await mistakeIn(["--port", "0"], { [variable]: "" });
      expect(errors).toContain(variable);
      expect(errors).toContain("empty");
    }
    for (const flag of ["--api-key-file", "--jwt-secret-file", "--jwt-public-key-file"]) {
      expect(await mistakeIn(["--port", "0", flag, empty])).toContain("empty");
    }
  });

  test("whose file cannot be read ends the command with 2 and names the file", async () => {
    const { exitCode, errors } = await runCommand(["--api-key-file", join(folder, "missing")]);
    expect(exitCode).toBe(2);
    expect(errors).toContain(join(folder, "missing"));
  });

  test("in a file may have commas in it: there each line is one", async () => {
    const key = "one,key,with,commas,in,it";
    await using server = await serveHere(["--api-key-file", await file(`${key}\n`)]);
    for (const [given, status] of [
      [key, 200],
      ["one", 401],
    ] as const) {
      const headers = { Authorization: `Bearer ${given}` };
      expect((await fetch(topicsUrl(server, "a"), { headers })).status).toBe(status);
    }
  });

  test("is counted and not shown in the line that tells every setting", async () => {
    const flags = ["--api-key", "x".repeat(16), "--api-key", "y".repeat(16), "--jwt-secret", secret];
    await using server = await serveHere(flags);
    expect(server.log.lines[0]?.fields).toMatchObject({
      apiKeys: "2 set",
      jwtSecrets: "1 set",
      jwtPublicKeys: "0 set",
      isOpen: false,
    });
    expect(JSON.stringify(server.log.lines)).not.toContain("xxxx");
    expect(JSON.stringify(server.log.lines)).not.toContain(secret);
  });
});

describe("a public key", () => {
  test("that turns out to be the private one ends the command with 2 and is not shown", async () => {
    const { privateKey } = await generateKeyPair("ES256", { extractable: true });
    const pem = await exportPKCS8(privateKey);
    const body = pem.split("\n")[1] ?? "";
    for (const flags of [
      ["--jwt-public-key-file", await file(pem)],
      ["--jwt-public-key", pem],
    ]) {
      const errors = await mistakeIn(flags);
      expect(errors).toContain("--jwt-public-key must be public keys in PEM");
      expect(errors).not.toContain(body);
      expect(errors).not.toContain("-----BEGIN PRIVATE KEY-----");
    }
  });

  test("that is damaged, too weak, or of a kind that signs no token ends the command with 2", async () => {
    const damaged = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    const pem = { type: "spki", format: "pem" } as const;
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export(pem);
    const exchange = generateKeyPairSync("x25519").publicKey.export(pem);
    for (const [pem, said] of [
      [damaged, "cannot be read"],
      [weak, "1024 bits"],
      [exchange, "x25519"],
    ] as const) {
      expect(await mistakeIn(["--port", "0", "--jwt-public-key-file", await file(pem)])).toContain(said);
    }
  });

  test("may be one of several in a file, and each of them is used", async () => {
    const pairs = await Promise.all(
      ["ES256", "EdDSA"].map((algorithm) => generateKeyPair(algorithm, { extractable: true })),
    );
    const pems = await Promise.all(pairs.map(({ publicKey }) => exportSPKI(publicKey)));
    await using server = await serveHere(["--jwt-public-key-file", await file(pems.join("\n"))]);
    expect(server.log.lines[0]?.fields).toMatchObject({ jwtPublicKeys: "2 set" });
  });
});
