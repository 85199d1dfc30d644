// The hub of gorilla/websocket's chat example: one goroutine that knows all clients, and for each client a buffered
// channel, a reader and a writer. Two things differ. A POST publishes too. And each message is a frame of its own: the
// example joins waiting messages with newlines into one frame, which only a text chat can split again.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

const (
	writeWait      = 10 * time.Second
	pongWait       = 60 * time.Second
	pingPeriod     = (pongWait * 9) / 10
	maxMessageSize = 1 << 20
)

var upgrader = websocket.Upgrader{
	ReadBufferSize:  1024,
	WriteBufferSize: 1024,
	CheckOrigin:     func(*http.Request) bool { return true },
}

type Hub struct {
	clients    map[*Client]bool
	broadcast  chan []byte
	register   chan *Client
	unregister chan *Client
}

func (hub *Hub) run() {
	for {
		select {
		case client := <-hub.register:
			hub.clients[client] = true
		case client := <-hub.unregister:
			if _, ok := hub.clients[client]; ok {
				delete(hub.clients, client)
				close(client.send)
			}
		case message := <-hub.broadcast:
			for client := range hub.clients {
				select {
				case client.send <- message:
				default:
					close(client.send)
					delete(hub.clients, client)
				}
			}
		}
	}
}

type Client struct {
	hub    *Hub
	socket *websocket.Conn
	send   chan []byte
}

func (client *Client) readPump() {
	defer func() {
		client.hub.unregister <- client
		client.socket.Close()
	}()
	client.socket.SetReadLimit(maxMessageSize)
	client.socket.SetReadDeadline(time.Now().Add(pongWait))
	client.socket.SetPongHandler(func(string) error {
		return client.socket.SetReadDeadline(time.Now().Add(pongWait))
	})
	for {
		_, message, err := client.socket.ReadMessage()
		if err != nil {
			return
		}
		client.hub.broadcast <- message
	}
}

func (client *Client) writePump() {
	ticker := time.NewTicker(pingPeriod)
	defer func() {
		ticker.Stop()
		client.socket.Close()
	}()
	for {
		select {
		case message, ok := <-client.send:
			client.socket.SetWriteDeadline(time.Now().Add(writeWait))
			if !ok {
				client.socket.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			if err := client.socket.WriteMessage(websocket.TextMessage, message); err != nil {
				return
			}
		case <-ticker.C:
			client.socket.SetWriteDeadline(time.Now().Add(writeWait))
			if err := client.socket.WriteMessage(websocket.PingMessage, nil); err != nil {
				return
			}
		}
	}
}

func main() {
	hub := &Hub{
		clients:    make(map[*Client]bool),
		broadcast:  make(chan []byte),
		register:   make(chan *Client),
		unregister: make(chan *Client),
	}
	go hub.run()
	http.HandleFunc("/topics/bench", func(writer http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, maxMessageSize))
			if err != nil {
				http.Error(writer, err.Error(), http.StatusBadRequest)
				return
			}
			hub.broadcast <- body
			io.WriteString(writer, "published")
			return
		}
		socket, err := upgrader.Upgrade(writer, request, nil)
		if err != nil {
			return
		}
		client := &Client{hub: hub, socket: socket, send: make(chan []byte, 256)}
		hub.register <- client
		go client.writePump()
		go client.readPump()
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	panic(http.Serve(listener, nil))
}
