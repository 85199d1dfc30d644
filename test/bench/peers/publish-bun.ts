/** The control: reads the body and answers JSON of the same size as Longwire's, and does nothing with the message. */
let published = 0;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request) => {
    await request.text();
    const topic = new URL(request.url).pathname.slice("/topics/".length);
    return Response.json({ published: [{ topic, id: `k3x9q2v7-${++published}` }] });
  },
});
console.log(server.url.href);
