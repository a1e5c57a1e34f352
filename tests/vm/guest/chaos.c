/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * chaos VNET SEED SECONDS: requests and packets in random order, as fast as the
 * system takes them: on pf, on pfsync0, on the sync interface VNET0 and on lo1.
 * Whether a request succeeds depends on what others do meanwhile. Prints how
 * often each succeeded: its name, successes and tries.
 */

#include "clock.h"
#include "socket.h"

#include <sys/ioctl.h>
#include <sys/sockio.h>
#include <sys/sysctl.h>
#include <net/bpf.h>
#include <net/if.h>
#include <net/pfvar.h>
#include <net/if_pfsync.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char	syncdev[IFNAMSIZ];
static int	control, pf;

static bool
one_in(int count)
{
	return (random() % count == 0);
}

static struct ifreq
named(const char *name)
{
	struct ifreq request = { 0 };

	strlcpy(request.ifr_name, name, sizeof(request.ifr_name));
	return (request);
}

static bool
send_request(unsigned long command, struct ifreq *request)
{
	return (ioctl(control, command, request) == 0);
}

static bool
set_up(const char *name, bool up)
{
	struct ifreq request = named(name);

	if (!send_request(SIOCGIFFLAGS, &request))
		return (false);
	request.ifr_flags = up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
	return (send_request(SIOCSIFFLAGS, &request));
}

static bool
create(const char *name)
{
	struct ifreq request = named(name);

	return (send_request(SIOCIFCREATE2, &request));
}

static bool
destroy(const char *name)
{
	struct ifreq request = named(name);

	return (send_request(SIOCIFDESTROY, &request));
}

static bool
set_mtu(const char *name, int mtu)
{
	struct ifreq request = named(name);

	request.ifr_mtu = mtu;
	return (send_request(SIOCSIFMTU, &request));
}

static bool
rename_to(const char *from, const char *to)
{
	struct ifreq request = named(from);

	request.ifr_data = __DECONST(void *, to);
	return (send_request(SIOCSIFNAME, &request));
}

static bool
set_number(const char *name, int value)
{
	return (sysctlbyname(name, NULL, NULL, &value, sizeof(value)) == 0);
}

static bool
configure(void)
{
	static const char *peers[] = { "0.0.0.0", "192.0.2.1", "192.0.2.3" };
	struct pfsyncreq pfsync = { 0 };
	struct ifreq request = named("pfsync0");

	if (!one_in(4))
		strlcpy(pfsync.pfsyncr_syncdev, one_in(4) ? "lo1" : syncdev, IFNAMSIZ);
	pfsync.pfsyncr_syncpeer = inet_address(peers[random() % nitems(peers)], 0).sin_addr;
	pfsync.pfsyncr_maxupdates = random() % 256;
	pfsync.pfsyncr_defer = one_in(2) ? PFSYNCF_DEFER : 0;
	request.ifr_data = (void *)&pfsync;
	return (send_request(SIOCSETPFSYNC, &request));
}

static bool
look(void)
{
	struct pfsyncreq pfsync;
	struct ifreq request = named("pfsync0");

	request.ifr_data = (void *)&pfsync;
	return (send_request(SIOCGETPFSYNC, &request));
}

static bool	up(void) { return (set_up("pfsync0", true)); }
static bool	down(void) { return (set_up("pfsync0", false)); }
static bool	make(void) { return (create("pfsync0")); }
static bool	unmake(void) { return (destroy("pfsync0")); }
static bool	mtu(void) { return (set_mtu("pfsync0", 576 + random() % 1200)); }
static bool	bulk_request(void) { return (set_number("net.pfsync.bulk_request", 1)); }
static bool	start_pf(void) { return (ioctl(pf, DIOCSTART) == 0); }
static bool	stop_pf(void) { return (ioctl(pf, DIOCSTOP) == 0); }
static bool	syncdev_down(void) { return (set_up(syncdev, false)); }
static bool	syncdev_up(void) { return (set_up(syncdev, true)); }
static bool	make_lo1(void) { return (create("lo1") && set_up("lo1", true)); }
static bool	unmake_lo1(void) { return (destroy("lo1")); }

static bool
rename_pfsync0(void)
{
	bool renamed = rename_to("pfsync0", "pfsyncy");

	usleep(1000);
	return (rename_to("pfsyncy", "pfsync0") && renamed);
}

static bool
limit(void)
{
	static const char *names[] = { "net.pfsync.defer_delay", "net.pfsync.carp_demotion_factor" };

	return (set_number(names[random() % nitems(names)], random() % 100));
}

/* Watches pfsync0 by bpf(4) for a moment. */
static bool
watch(void)
{
	struct ifreq request = named("pfsync0");
	int bpf = open("/dev/bpf", O_RDWR);
	bool attached;

	if (bpf == -1)
		return (false);
	attached = ioctl(bpf, BIOCSETIF, &request) == 0;
	usleep(random() % 5000);
	close(bpf);
	return (attached);
}

/* Packets of new connections within the vnet. */
static bool
packets(void)
{
	struct sockaddr_in to = inet_address("127.0.0.1", 1 + random() % 1000);
	int count = 0, s = socket(AF_INET, SOCK_DGRAM, 0);

	for (int i = 0; s != -1 && i < 20; i++)
		count += sendto(s, "payload", 7, 0, (struct sockaddr *)&to, sizeof(to)) == 7;
	close(s);
	return (count > 0);
}

static struct {
	const char	*name;
	bool		(*operation)(void);
	int		share, done, tried;
} operations[] = {
	{ "c_packets", packets, 40, 0, 0 },
	{ "c_configure", configure, 20, 0, 0 },
	{ "c_look", look, 10, 0, 0 },
	{ "c_up", up, 20, 0, 0 },
	{ "c_down", down, 5, 0, 0 },
	{ "c_create", make, 20, 0, 0 },
	{ "c_destroy", unmake, 2, 0, 0 },
	{ "c_mtu", mtu, 5, 0, 0 },
	{ "c_rename", rename_pfsync0, 1, 0, 0 },
	{ "c_bulk_request", bulk_request, 10, 0, 0 },
	{ "c_sysctl", limit, 3, 0, 0 },
	{ "c_watch", watch, 2, 0, 0 },
	{ "c_start_pf", start_pf, 10, 0, 0 },
	{ "c_stop_pf", stop_pf, 2, 0, 0 },
	{ "c_syncdev_up", syncdev_up, 10, 0, 0 },
	{ "c_syncdev_down", syncdev_down, 2, 0, 0 },
	{ "c_create_lo1", make_lo1, 5, 0, 0 },
	{ "c_destroy_lo1", unmake_lo1, 2, 0, 0 },
};

/* The place of an operation that is chosen as often as its share says. */
static size_t
choose(void)
{
	int shares = 0, chosen;
	size_t i;

	for (i = 0; i < nitems(operations); i++)
		shares += operations[i].share;
	chosen = random() % shares;
	for (i = 0; chosen >= operations[i].share; i++)
		chosen -= operations[i].share;
	return (i);
}

int
main(int argc, char **argv)
{
	long end;
	size_t i;

	if (argc != 4)
		errx(2, "usage: chaos VNET SEED SECONDS");
	snprintf(syncdev, sizeof(syncdev), "%s0", argv[1]);
	srandom(strtoul(argv[2], NULL, 0));
	end = milliseconds() + 1000 * atol(argv[3]);
	if ((control = socket(AF_INET, SOCK_DGRAM, 0)) == -1)
		err(1, "socket");
	if ((pf = open("/dev/pf", O_RDWR)) == -1)
		err(1, "/dev/pf");
	while (milliseconds() < end) {
		i = choose();
		operations[i].tried++;
		operations[i].done += operations[i].operation();
		usleep(random() % 2000);
	}
	for (i = 0; i < nitems(operations); i++)
		printf("%s %d %d\n", operations[i].name, operations[i].done, operations[i].tried);
	return (0);
}
