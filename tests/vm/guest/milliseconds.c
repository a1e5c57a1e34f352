/* milliseconds: prints how long the machine has been up. */
#include <stdio.h>
#include <time.h>

int
main(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%lld\n", (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	return (0);
}
