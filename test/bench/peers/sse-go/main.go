// Event streams as one writes them with net/http: a channel for each subscriber, and a flush after each event.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

const maxMessageSize = 1 << 20

type Hub struct {
	mutex       sync.RWMutex
	subscribers map[chan []byte]bool
}

func (hub *Hub) publish(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, maxMessageSize))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	event := bytes.Join([][]byte{[]byte("data: "), body, []byte("\n\n")}, nil)
	hub.mutex.RLock()
	for events := range hub.subscribers {
		events <- event
	}
	hub.mutex.RUnlock()
	io.WriteString(writer, "published")
}

func (hub *Hub) subscribe(writer http.ResponseWriter, request *http.Request) {
	events := make(chan []byte, 256)
	hub.mutex.Lock()
	hub.subscribers[events] = true
	hub.mutex.Unlock()
	defer func() {
		hub.mutex.Lock()
		delete(hub.subscribers, events)
		hub.mutex.Unlock()
	}()
	writer.Header().Set("Content-Type", "text/event-stream")
	flusher := writer.(http.Flusher)
	flusher.Flush()
	for {
		select {
		case event := <-events:
			writer.Write(event)
			flusher.Flush()
		case <-request.Context().Done():
			return
		}
	}
}

func main() {
	hub := &Hub{subscribers: make(map[chan []byte]bool)}
	http.HandleFunc("/topics/bench", func(writer http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			hub.publish(writer, request)
		} else {
			hub.subscribe(writer, request)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	panic(http.Serve(listener, nil))
}
