/** Reading the frames that clients send, and refusing those that are wrong. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { DraftError } from "../../src/topic/draft.ts";
import { readEventFrame, readRawFrame } from "../../src/wire/client-frame.ts";

setDefaultTimeout(120_000);

const event = (members: Record<string, unknown>): string =>
  JSON.stringify({ specversion: "1.0", ...members });

describe("a raw frame", () => {
  test("is published unchanged, with the type of its frame, to the connection's topic", () => {
    expect(readRawFrame("text", "news")).toEqual({
      topic: "news",
      draft: { data: "text", contentType: "text/plain" },
    });
    const bytes = Buffer.from([0, 255]);
    expect(readRawFrame(bytes, "news")).toEqual({
      topic: "news",
      draft: { data: bytes, contentType: "application/octet-stream" },
    });
    expect(readRawFrame("", "news")).toMatchObject({ draft: { data: "" } });
  });

  test("is a heartbeat if it is exactly the text ping", () => {
    expect(readRawFrame("ping", "news")).toBe("pong");
    for (const other of ["Ping", "ping ", "", Buffer.from("ping")]) {
      expect(readRawFrame(other, "news")).not.toBe("pong");
    }
  });
});

describe("an event", () => {
  const read = (members: Record<string, unknown>) => readEventFrame(event(members), "news");
  const readOfSeveral = (members: Record<string, unknown>) => readEventFrame(event(members), undefined);

  test("is published to its topic, and may leave it out if the connection has only one", () => {
    expect(read({ data: 1 })).toMatchObject({ topic: "news" });
    expect(read({ data: 1, topic: "news" })).toMatchObject({ topic: "news" });
    expect(readOfSeveral({ data: 1, topic: "sport" })).toMatchObject({ topic: "sport" });
    // Permissions are checked elsewhere.
    expect(read({ data: 1, topic: "elsewhere" })).toMatchObject({ topic: "elsewhere" });
  });

  test("without a media type, or with a JSON type, publishes its data as JSON, unchanged", () => {
    const frame = '{"specversion":"1.0","data": {"a" : 1.0,"b":[1e400]} ,"id":"mine"}';
    expect(readEventFrame(frame, "news")).toEqual({
      topic: "news",
      draft: { data: '{"a" : 1.0,"b":[1e400]}', contentType: "application/json" },
    });
    expect(read({ data: "text" })).toMatchObject({
      draft: { data: '"text"', contentType: "application/json" },
    });
    expect(read({ data: null })).toMatchObject({ draft: { data: "null" } });
    expect(read({ data: false, datacontenttype: "application/ld+json" })).toMatchObject({
      draft: { data: "false", contentType: "application/ld+json" },
    });
  });

  test("with a text type publishes its string", () => {
    expect(read({ data: "a\r\n\u0000長🔌", datacontenttype: "text/html; charset=utf-8" })).toMatchObject({
      draft: { data: "a\r\n\u0000長🔌", contentType: "text/html; charset=utf-8" },
    });
    expect(read({ data: "", datacontenttype: "text/plain" })).toMatchObject({ draft: { data: "" } });
  });

  test("with data_base64 publishes its bytes, or text or JSON if its type says so", () => {
    expect(read({ data_base64: "AP8=" })).toEqual({
      topic: "news",
      draft: { data: Uint8Array.of(0, 255), contentType: "application/octet-stream" },
    });
    expect(read({ data_base64: "" })).toMatchObject({ draft: { data: new Uint8Array() } });
    expect(read({ data_base64: "AP8=", datacontenttype: "image/png" })).toMatchObject({
      draft: { data: Uint8Array.of(0, 255), contentType: "image/png" },
    });
    expect(read({ data_base64: btoa("text"), datacontenttype: "text/plain" })).toMatchObject({
      draft: { data: "text" },
    });
    expect(read({ data_base64: btoa('{"a":1.0}'), datacontenttype: "application/json" })).toMatchObject({
      draft: { data: '{"a":1.0}' },
    });
  });

  // CloudEvents JSON format, section 2.1.
  test("counts attributes that are null as left out", () => {
    expect(read({ data: 1, topic: null, datacontenttype: null, data_base64: null })).toEqual({
      topic: "news",
      draft: { data: "1", contentType: "application/json" },
    });
    expect(read({ data_base64: "AP8=", datacontenttype: null })).toMatchObject({
      draft: { contentType: "application/octet-stream" },
    });
  });

  test("of type longwire.ping is a heartbeat, with or without data and topic", () => {
    expect(read({ type: "longwire.ping" })).toBe("pong");
    expect(readOfSeveral({ type: "longwire.ping", data: 1 })).toBe("pong");
  });

  const refused: Record<string, string | Buffer<ArrayBuffer>> = {
    "bytes, not text": Buffer.from(event({ data: 1 })),
    "no JSON": "ping",
    nothing: "",
    "no object": "1",
    "a list": "[]",
    "JSON's null": "null",
    "of no version": '{"data":1}',
    "of another version": '{"specversion":"0.3","data":1}',
    "of a version that is a number": '{"specversion":1.0,"data":1}',
    "without data": event({}),
    "with a topic that is no name": event({ data: 1, topic: "a b" }),
    "with an empty topic": event({ data: 1, topic: "" }),
    "with a topic that is no string": event({ data: 1, topic: 1 }),
    "with a media type that is none": event({ data: 1, datacontenttype: "text" }),
    "with a media type that is no string": event({ data: 1, datacontenttype: 1 }),
    "with data that should be a string": event({ data: 1, datacontenttype: "text/plain" }),
    "with a string of bytes": event({ data: "x", datacontenttype: "image/png" }),
    "with half a surrogate pair": event({ data: "\ud83d", datacontenttype: "text/plain" }),
    "with bytes that are no string": event({ data_base64: 1 }),
    "with bytes that are no base64": event({ data_base64: "a!" }),
    "with bytes that are not the UTF-8 they are said to be": event({
      data_base64: "/w==",
      datacontenttype: "text/plain",
    }),
    "with bytes that are not the JSON they are said to be": event({
      data_base64: "/w==",
      datacontenttype: "application/json",
    }),
  };
  for (const [what, frame] of Object.entries(refused)) {
    test(`is refused if it is ${what}`, () => {
      expect(() => readEventFrame(frame, "news")).toThrow(DraftError);
    });
  }

  test("is refused without a topic if the connection has several", () => {
    expect(() => readOfSeveral({ data: 1 })).toThrow(DraftError);
    expect(() => readOfSeveral({ data: 1, topic: null })).toThrow(DraftError);
  });

  test("keeps half a surrogate pair in JSON data as it was written, escaped", () => {
    const frame = '{"specversion":"1.0","data":"\\ud83d"}';
    expect(readEventFrame(frame, "news")).toMatchObject({ draft: { data: '"\\ud83d"' } });
  });
});
