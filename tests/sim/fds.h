/* Descriptors of the simulated processes: eventfd(), read(), write(), close(), poll() and what
 * looks like a descriptor of ZeroMQ's. Their numbers lie far above the kernel's and are never used
 * twice; other numbers go to the kernel. They vanish with their process. */
#ifndef TESTS_SIM_FDS_H
#define TESTS_SIM_FDS_H

#include "base/types.h"

struct sim_fd;
struct sim_node;

/* A descriptor of the node whose fiber runs; readable when it is said so. */
struct sim_fd *sim_fd_new(void);
int sim_fd_number(const struct sim_fd *fd);
/* Wakes who waits for it when it becomes readable. */
void sim_fd_readable(struct sim_fd *fd, bool readable);
void sim_fd_close(struct sim_fd *fd);
/* An eventfd of another node: for its signals. */
int sim_fd_event(struct sim_node *node);
/* Adds one to an eventfd. Nothing if it is closed. */
void sim_fd_post(int number);
/* A folder that was opened, and which; NULL for other descriptors. */
int sim_fd_folder(const char *path);
const char *sim_fd_path(int number);
void sim_fds_drop(const struct sim_node *node);

#endif
