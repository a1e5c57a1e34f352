/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * badconfig SYNCDEV MISTAKE: sends pfsync0 one wrong request. Prints the name
 * of the errno and whether the configuration changed. Apart from its mistake,
 * each request asks for the configuration that is already set.
 */

#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/nv.h>
#include <sys/socket.h>
#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>
#include <net/if_pfsync.h>

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define	NO_MEMORY	((void *)1)
#define	NVLIST_MAGIC	0x6c
#define	NV_TYPE_UP	255

/* A packed nvlist, built by hand so that it can be wrong. */
struct nv_head {
	uint8_t		magic;
	uint8_t		version;
	uint8_t		flags;
	uint64_t	descriptors;
	uint64_t	size;
} __packed;

struct nv_pair {
	uint8_t		type;
	uint16_t	name_size;
	uint64_t	data_size;
	uint64_t	items;
} __packed;

struct list {
	unsigned char	bytes[4096];
	size_t		length;
};

/* What a request asks for. Type 0 leaves a field out. */
struct request {
	int		syncdev_type, maxupd_type, flags_type, version_type;
	int		peer_type, af_type, address_type;
	const char	*syncdev;
	uint64_t	maxupd, version, af;
	size_t		address_length;
};

static int	control;

static void
put(struct list *list, const void *bytes, size_t length)
{
	if (list->length + length > sizeof(list->bytes))
		errx(1, "list too long");
	memcpy(list->bytes + list->length, bytes, length);
	list->length += length;
}

static void
put_head(struct list *list)
{
	struct nv_head head = { .magic = NVLIST_MAGIC };

	put(list, &head, sizeof(head));
}

/* The size in a head counts everything that follows the head, also what belongs to the outer list. */
static void
set_size(struct list *list, size_t head_at)
{
	uint64_t size = list->length - head_at - sizeof(struct nv_head);

	memcpy(list->bytes + head_at + offsetof(struct nv_head, size), &size,
	    sizeof(size));
}

static void
put_pair(struct list *list, int type, const char *name, const void *data,
    size_t length)
{
	struct nv_pair pair = {
		.type = type, .name_size = strlen(name) + 1, .data_size = length
	};

	put(list, &pair, sizeof(pair));
	put(list, name, strlen(name) + 1);
	put(list, data, length);
}

/* A field of the given type: a number, a string or bytes. */
static void
put_field(struct list *list, int type, const char *name, uint64_t number,
    const char *string)
{
	if (type == NV_TYPE_NUMBER)
		put_pair(list, type, name, &number, sizeof(number));
	else if (type == NV_TYPE_STRING)
		put_pair(list, type, name, string, strlen(string) + 1);
	else if (type == NV_TYPE_BINARY)
		put_pair(list, type, name, &number, sizeof(number));
}

/* Adds the list of the sync peer and returns where its head is, or 0 if there is no list. */
static size_t
put_peer(struct list *list, const struct request *request)
{
	static const unsigned char address[64];
	struct nv_pair peer = { .type = NV_TYPE_NVLIST, .name_size = sizeof("syncpeer"),
	    .data_size = 1 };
	size_t head_at;

	if (request->peer_type != NV_TYPE_NVLIST) {
		put_field(list, request->peer_type, "syncpeer", 1, "192.0.2.2");
		return (0);
	}
	put(list, &peer, sizeof(peer));
	put(list, "syncpeer", sizeof("syncpeer"));
	head_at = list->length;
	put_head(list);
	put_field(list, request->af_type, "af", request->af, "inet");
	if (request->address_type == NV_TYPE_BINARY)
		put_pair(list, NV_TYPE_BINARY, "address", address,
		    request->address_length);
	else
		put_field(list, request->address_type, "address", 1, "192.0.2.2");
	put_pair(list, NV_TYPE_UP, "", NULL, 0);
	return (head_at);
}

static void
pack(struct list *list, const struct request *request)
{
	size_t peer_at;

	list->length = 0;
	put_head(list);
	put_field(list, request->syncdev_type, "syncdev", 1, request->syncdev);
	put_field(list, request->maxupd_type, "maxupdates", request->maxupd, "100");
	put_field(list, request->flags_type, "flags", 0, "0");
	put_field(list, request->version_type, "version", request->version, "1400");
	peer_at = put_peer(list, request);
	set_size(list, 0);
	if (peer_at != 0)
		set_size(list, peer_at);
}

static int
nv_ioctl(unsigned long command, void *buffer, size_t capacity, size_t *length)
{
	struct ifreq ifr;
	int error;

	memset(&ifr, 0, sizeof(ifr));
	strlcpy(ifr.ifr_name, "pfsync0", sizeof(ifr.ifr_name));
	ifr.ifr_cap_nv.buffer = buffer;
	ifr.ifr_cap_nv.buf_length = capacity;
	ifr.ifr_cap_nv.length = *length;
	error = ioctl(control, command, &ifr) == -1 ? errno : 0;
	*length = ifr.ifr_cap_nv.length;
	return (error);
}

static int
set_bytes(void *bytes, size_t length)
{
	return (nv_ioctl(SIOCSETPFSYNCNV, bytes, length, &length));
}

static int
set_request(const struct request *request)
{
	struct list list;

	pack(&list, request);
	return (set_bytes(list.bytes, list.length));
}

static int
set_old(const struct pfsyncreq *request)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	strlcpy(ifr.ifr_name, "pfsync0", sizeof(ifr.ifr_name));
	ifr.ifr_data = __DECONST(void *, request);
	return (ioctl(control, SIOCSETPFSYNC, &ifr) == -1 ? errno : 0);
}

static void
get_configuration(struct list *list)
{
	int error;

	list->length = 0;
	error = nv_ioctl(SIOCGETPFSYNCNV, list->bytes, sizeof(list->bytes),
	    &list->length);
	if (error != 0)
		errc(1, error, "SIOCGETPFSYNCNV");
}

/* Mistakes in the old request. */
static int
old_mistake(const char *name, const char *syncdev)
{
	struct pfsyncreq request;

	memset(&request, 0, sizeof(request));
	strlcpy(request.pfsyncr_syncdev, syncdev, IFNAMSIZ);
	request.pfsyncr_maxupdates = 100;
	if (strcmp(name, "old-unknown-interface") == 0)
		strlcpy(request.pfsyncr_syncdev, "nosuch0", IFNAMSIZ);
	else if (strcmp(name, "old-maxupd-256") == 0)
		request.pfsyncr_maxupdates = 256;
	else if (strcmp(name, "old-maxupd-minus-1") == 0)
		request.pfsyncr_maxupdates = -1;
	else if (strcmp(name, "old-no-memory") == 0)
		return (set_old(NO_MEMORY));
	else
		errx(2, "unknown mistake %s", name);
	return (set_old(&request));
}

/* Mistakes in the bytes of a list, whatever the list says. */
static int
byte_mistake(const char *name, const struct request *request)
{
	struct list list;

	pack(&list, request);
	if (strcmp(name, "bytes-garbage") == 0)
		memset(list.bytes, 0xa5, list.length);
	else if (strcmp(name, "bytes-truncated") == 0)
		list.length -= 10;
	else if (strcmp(name, "bytes-none") == 0)
		list.length = 0;
	else if (strcmp(name, "bytes-too-many") == 0)
		list.length = IFR_CAP_NV_MAXBUFSIZE + 1;
	else if (strcmp(name, "bytes-no-memory") == 0)
		return (set_bytes(NO_MEMORY, list.length));
	else
		errx(2, "unknown mistake %s", name);
	return (set_bytes(list.bytes, list.length));
}

/* Mistakes in what a well-formed list says. */
static int
list_mistake(const char *name, struct request *request)
{
	const struct {
		const char	*name;
		int		*type, wrong_type;
	} types[] = {
		{ "list-no-maxupd", &request->maxupd_type, 0 },
		{ "list-no-flags", &request->flags_type, 0 },
		{ "list-no-version", &request->version_type, 0 },
		{ "list-maxupd-type", &request->maxupd_type, NV_TYPE_STRING },
		{ "list-flags-type", &request->flags_type, NV_TYPE_STRING },
		{ "list-version-type", &request->version_type, NV_TYPE_STRING },
		{ "list-syncdev-type", &request->syncdev_type, NV_TYPE_NUMBER },
		{ "list-peer-type", &request->peer_type, NV_TYPE_STRING },
		{ "list-peer-no-af", &request->af_type, 0 },
		{ "list-peer-no-address", &request->address_type, 0 },
		{ "list-peer-address-type", &request->address_type, NV_TYPE_STRING },
	};

	for (size_t i = 0; i < nitems(types); i++)
		if (strcmp(name, types[i].name) == 0) {
			*types[i].type = types[i].wrong_type;
			return (set_request(request));
		}
	if (strcmp(name, "list-unknown-interface") == 0)
		request->syncdev = "nosuch0";
	else if (strcmp(name, "list-long-interface") == 0)
		request->syncdev = "an-interface-name-that-is-far-too-long";
	else if (strcmp(name, "list-maxupd-256") == 0)
		request->maxupd = 256;
	else if (strcmp(name, "list-maxupd-minus-1") == 0)
		request->maxupd = UINT64_MAX;
	else if (strcmp(name, "list-maxupd-huge") == 0)
		request->maxupd = UINT64_C(1) << 32;
	else if (strcmp(name, "list-version-1234") == 0)
		request->version = 1234;
	else if (strcmp(name, "list-peer-af-99") == 0)
		request->af = 99;
	else if (strcmp(name, "list-peer-short") == 0)
		request->address_length = sizeof(struct sockaddr_in) - 1;
	else
		errx(2, "unknown mistake %s", name);
	return (set_request(request));
}

static int
make_mistake(const char *name, const char *syncdev)
{
	struct request request = {
		.syncdev_type = NV_TYPE_STRING, .maxupd_type = NV_TYPE_NUMBER,
		.flags_type = NV_TYPE_NUMBER, .version_type = NV_TYPE_NUMBER,
		.peer_type = NV_TYPE_NVLIST, .af_type = NV_TYPE_NUMBER,
		.address_type = NV_TYPE_BINARY,
		.syncdev = syncdev, .maxupd = 100,
		.version = PFSYNC_MSG_VERSION_1400, .af = AF_INET,
		.address_length = sizeof(struct sockaddr_in),
	};

	if (strcmp(name, "none") == 0)
		return (set_request(&request));
	if (strncmp(name, "old-", 4) == 0)
		return (old_mistake(name, syncdev));
	if (strncmp(name, "bytes-", 6) == 0)
		return (byte_mistake(name, &request));
	return (list_mistake(name, &request));
}

static const char *
errno_name(int error)
{
	switch (error) {
	case 0:
		return ("ok");
	case EINVAL:
		return ("EINVAL");
	case EFAULT:
		return ("EFAULT");
	default:
		return (strerror(error));
	}
}

int
main(int argc, char **argv)
{
	struct list before, after;
	int error;
	bool same;

	if (argc != 3)
		errx(2, "usage: badconfig SYNCDEV MISTAKE");
	control = socket(AF_INET, SOCK_DGRAM, 0);
	if (control == -1)
		err(1, "socket");
	get_configuration(&before);
	error = make_mistake(argv[2], argv[1]);
	get_configuration(&after);
	same = before.length == after.length &&
	    memcmp(before.bytes, after.bytes, before.length) == 0;
	printf("%s %s\n", errno_name(error), same ? "unchanged" : "changed");
	return (0);
}
