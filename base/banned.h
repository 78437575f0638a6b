/* Functions whose safe replacement exists: using one is a compile error. Included by every .c file
 * last. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atoll gets \
    gmtime localtime rand srand asctime ctime tmpnam mktemp

#endif
