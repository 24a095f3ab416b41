# oneDNN 3 as the target thaw_onednn: the distribution's, or, where that is older or missing (Debian
# 12 has 2.6, which computes wrong sums of two maps behind some grouped convolutions), its makers'
# own build from the Python package index, pinned by hash and unpacked under the build folder.
#
# The headers tell the version: Debian's CMake files ask for OpenCL, which nothing here needs.

function(thaw_onednn_version folder version)
    set(${version} 0 PARENT_SCOPE)
    foreach(file oneapi/dnnl/dnnl_version.h dnnl_version.h)
        if(EXISTS ${folder}/${file})
            file(STRINGS ${folder}/${file} line REGEX "define DNNL_VERSION_MAJOR +[0-9]+")
            if(line MATCHES "([0-9]+)$")
                set(${version} ${CMAKE_MATCH_1} PARENT_SCOPE)
                return()
            endif()
        endif()
    endforeach()
endfunction()

# Moves what a wheel has under its data folder to the build folder's onednn/, with its licence.
function(thaw_unpack_onednn package pattern)
    set(folder ${CMAKE_BINARY_DIR}/onednn)
    file(GLOB wheel ${folder}/${package}-*.whl)
    file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${folder}
         PATTERNS "${package}.data/data/${pattern}" "${package}.data/data/share/doc/*")
    file(COPY ${folder}/${package}.data/data/ DESTINATION ${folder})
    file(REMOVE_RECURSE ${folder}/${package}.data)
    file(REMOVE ${wheel})
endfunction()

# Sets ONEDNN_INCLUDE and ONEDNN_LIBRARY to files below the build folder.
function(thaw_fetch_onednn)
    set(folder ${CMAKE_BINARY_DIR}/onednn)
    if(NOT EXISTS ${folder}/lib/libdnnl.so.3)
        if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
            message(FATAL_ERROR "Thaw needs oneDNN 3 or newer: install it (libdnnl-dev of Debian 13 "
                                "or Ubuntu 24.04), or set ONEDNN_INCLUDE and ONEDNN_LIBRARY")
        endif()
        find_package(Python3 REQUIRED COMPONENTS Interpreter)
        message(STATUS "oneDNN: getting version 3 from the Python package index")
        file(WRITE ${folder}/wanted.txt
"onednn-devel-cpu-gomp==2023.2.0 --hash=sha256:9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284
onednn-cpu-gomp==2023.2.0 --hash=sha256:2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb
")
        execute_process(
            COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-input --no-deps
                    --disable-pip-version-check --require-hashes --only-binary=:all: --dest ${folder}
                    --requirement ${folder}/wanted.txt
            RESULT_VARIABLE failed ERROR_VARIABLE why)
        if(failed)
            message(FATAL_ERROR "oneDNN 3 could not be had from the Python package index; install "
                                "python3-pip and look at the network, or set ONEDNN_INCLUDE and "
                                "ONEDNN_LIBRARY to a oneDNN 3 of your own. pip said: ${why}")
        endif()
        thaw_unpack_onednn(onednn_devel_cpu_gomp-2023.2.0 include/*)
        thaw_unpack_onednn(onednn_cpu_gomp-2023.2.0 lib/libdnnl.so.3) # It is there under three names.
    endif()
    set(ONEDNN_INCLUDE ${folder}/include PARENT_SCOPE)
    set(ONEDNN_LIBRARY ${folder}/lib/libdnnl.so.3 PARENT_SCOPE)
    set(ONEDNN_IS_OURS ON PARENT_SCOPE)
endfunction()

find_path(ONEDNN_INCLUDE NAMES dnnl.h)
find_library(ONEDNN_LIBRARY NAMES dnnl)
if(ONEDNN_INCLUDE AND ONEDNN_LIBRARY)
    thaw_onednn_version(${ONEDNN_INCLUDE} ONEDNN_MAJOR)
endif()
set(ONEDNN_IS_OURS OFF)
if(NOT ONEDNN_LIBRARY OR ONEDNN_MAJOR LESS 3)
    thaw_fetch_onednn()
endif()
message(STATUS "oneDNN: ${ONEDNN_LIBRARY}")
add_library(thaw_onednn SHARED IMPORTED)
set_target_properties(thaw_onednn PROPERTIES IMPORTED_LOCATION ${ONEDNN_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${ONEDNN_INCLUDE})
if(ONEDNN_IS_OURS)
    # It goes where the program goes.
    install(FILES ${ONEDNN_LIBRARY} DESTINATION lib/thaw)
    set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib/thaw")
endif()
