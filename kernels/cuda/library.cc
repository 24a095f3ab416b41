#include "library.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <initializer_list>
#include <string>

namespace thaw {

/* Where packages of Python's lie below the folder that holds its bin/: in a virtual environment
 * and in conda, in a user's own folder, in Debian's. */
static const char *const PACKAGES[] = {"/lib/python3*/site-packages",
                                       "/lib64/python3*/site-packages",
                                       "/lib/python3*/dist-packages", "/lib/python3/dist-packages"};

/* The first file that the pattern matches and that loads. */
static void *try_pattern(const std::string &pattern) {
    glob_t found;
    void *library = nullptr;
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !library; i++)
            library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    }
    globfree(&found);
    return library;
}

/* root: a folder with a bin/ of Python's. In nvidia/ are cu13/lib of CUDA 13's packages, and
 * cublas/lib, cudnn/lib, ... of 12's. */
static void *try_packages(const std::string &root, const char *name) {
    void *library = nullptr;
    for (const char *packages : PACKAGES) {
        if (!library) library = try_pattern(root + packages + "/nvidia/*/lib/" + name);
    }
    return library;
}

/* The path without its last n parts; "" is none. */
static std::string above(std::string path, int n) {
    while (n-- > 0) {
        size_t slash = path.rfind('/');
        path.erase(slash == std::string::npos ? 0 : slash);
    }
    return path;
}

/* The file behind the links. */
static std::string real_path(const char *path) {
    char real[PATH_MAX];
    return realpath(path, real) ? real : "";
}

static void *try_beside_program(const char *name) {
    std::string folder = above(real_path("/proc/self/exe"), 1);
    void *library = try_pattern(folder + "/" + name);
    return library ? library : try_pattern(above(folder, 1) + "/lib/" + name);
}

/* Each python3 on the PATH, in its own environment before what it links to. */
static void *try_pythons(const char *name) {
    const char *variable = getenv("PATH");
    std::string all = variable ? variable : "";
    void *library = nullptr;
    for (size_t begin = 0; begin < all.size() && !library;) {
        size_t end = all.find(':', begin);
        if (end == std::string::npos) end = all.size();
        std::string python = all.substr(begin, end - begin) + "/python3";
        begin = end + 1;
        if (access(python.c_str(), X_OK) != 0) continue;
        library = try_packages(above(python, 2), name);
        if (!library) library = try_packages(above(real_path(python.c_str()), 2), name);
    }
    return library;
}

static void *try_environments(const char *name) {
    void *library = nullptr;
    for (const char *variable : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
        const char *root = getenv(variable);
        if (!library && root && *root) library = try_packages(root, name);
    }
    const char *home = getenv("HOME");
    if (!library && home) library = try_packages(std::string(home) + "/.local", name);
    if (!library) library = try_pythons(name);
    return library ? library : try_packages("/usr/local", name);
}

static void *try_everywhere(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) library = try_beside_program(name);
    for (const char *cuda : {"/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda"}) {
        if (!library) library = try_pattern(std::string(cuda) + "/lib64/" + name);
    }
    return library ? library : try_environments(name);
}

void *open_library(const char *const *names) {
    void *library = nullptr;
    for (; *names && !library; names++)
        library = try_everywhere(*names);
    return library;
}

}  // namespace thaw
