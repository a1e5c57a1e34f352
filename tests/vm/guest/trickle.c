/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * trickle serve PORT: accepts TCP connections and sends back what comes.
 *
 * trickle ADDRESS PORT RATE COUNT SECONDS: opens COUNT connections to such a
 * server, RATE of them a second, sends a byte on each once a second, and ends
 * SECONDS after the last was opened. Prints a line for each connection: when
 * it was opened, and when the last byte came back, in microseconds since the
 * machine was started, or 0.
 */

#include "clock.h"
#include "socket.h"

#include <sys/event.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define	EVENTS	256

struct connection {
	int64_t opened, next, answered;
	int socket;
};

static void
watch(int queue, int socket, void *of)
{
	struct kevent event;

	EV_SET(&event, socket, EVFILT_READ, EV_ADD, 0, 0, of);
	if (kevent(queue, &event, 1, NULL, 0, NULL) == -1)
		err(1, "kevent");
}

static void
serve(int port)
{
	struct sockaddr_in here = inet_address("0.0.0.0", port);
	struct kevent events[EVENTS];
	char bytes[256];
	int listener, queue, count, s;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) == -1 || listen(listener, 128) == -1)
		err(1, "port %d", port);
	if ((queue = kqueue()) == -1)
		err(1, "kqueue");
	watch(queue, listener, NULL);
	while ((count = kevent(queue, NULL, 0, events, EVENTS, NULL)) > 0)
		for (int i = 0; i < count; i++) {
			ssize_t len;

			s = events[i].ident;
			if (s == listener) {
				if ((s = accept(listener, NULL, NULL)) != -1)
					watch(queue, s, NULL);
			} else if ((len = read(s, bytes, sizeof(bytes))) > 0)
				(void)write(s, bytes, len);
			else
				close(s);
		}
	err(1, "kevent");
}

static void
open_connection(struct connection *c, const struct sockaddr_in *to, int queue)
{
	c->opened = microseconds();
	c->next = c->opened + 1000000;
	c->answered = 0;
	if ((c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) == -1)
		err(1, "socket");
	if (connect(c->socket, (const struct sockaddr *)to, sizeof(*to)) == -1 && errno != EINPROGRESS)
		err(1, "connect");
	watch(queue, c->socket, c);
}

static void
read_answers(int queue)
{
	struct timespec wait = { 0, 1000000 };
	struct kevent events[EVENTS];
	char bytes[256];
	int count;

	count = kevent(queue, NULL, 0, events, EVENTS, &wait);
	for (int i = 0; i < count; i++) {
		struct connection *c = events[i].udata;

		if (read(c->socket, bytes, sizeof(bytes)) > 0)
			c->answered = microseconds();
		else if (errno != EAGAIN) {
			close(c->socket);
			c->socket = -1;
		}
	}
}

int
main(int argc, char **argv)
{
	struct sockaddr_in to;
	struct connection *all;
	int64_t start, now, end;
	int queue, rate, count, opened = 0;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(atoi(argv[2]));
	if (argc != 6)
		errx(2, "usage: trickle serve PORT | trickle ADDRESS PORT RATE COUNT SECONDS");
	to = inet_address(argv[1], atoi(argv[2]));
	rate = MAX(atoi(argv[3]), 1);
	count = MAX(atoi(argv[4]), 1);
	all = calloc(count, sizeof(*all));
	if (all == NULL || (queue = kqueue()) == -1)
		err(1, "kqueue");
	start = now = microseconds();
	end = start + (int64_t)count * 1000000 / rate + atoll(argv[5]) * 1000000;
	while (now < end) {
		while (opened < count && now >= start + (int64_t)opened * 1000000 / rate)
			open_connection(&all[opened++], &to, queue);
		for (int i = 0; i < opened; i++)
			if (all[i].next <= now && all[i].socket != -1) {
				(void)write(all[i].socket, "x", 1);
				all[i].next += 1000000;
			}
		read_answers(queue);
		now = microseconds();
	}
	for (int i = 0; i < count; i++)
		printf("%jd %jd\n", (intmax_t)all[i].opened, (intmax_t)all[i].answered);
	return (0);
}
