// The demo that Longwire began as: gin and gorilla/websocket. "ping" gets "pong" and everything else comes back.
package main

import (
	"fmt"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
)

const page = `<!doctype html><title>long connect</title><script>
const socket = new WebSocket("ws://" + location.host + "/ping");
socket.onopen = () => socket.send("ping");
socket.onmessage = (event) => document.body.append(event.data);
</script><body></body>`

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func ping(context *gin.Context) {
	socket, err := upgrader.Upgrade(context.Writer, context.Request, nil)
	if err != nil {
		return
	}
	defer socket.Close()
	for {
		kind, message, err := socket.ReadMessage()
		if err != nil {
			return
		}
		if string(message) == "ping" {
			message = []byte("pong")
		}
		if err := socket.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

func main() {
	engine := gin.Default()
	engine.GET("/ping", ping)
	engine.GET("/longconnecthtml", func(context *gin.Context) {
		context.Data(http.StatusOK, "text/html; charset=utf-8", []byte(page))
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	panic(http.Serve(listener, engine))
}
