# The libraries of formats that not every build reads: for each that is found, with all its parts, a
# target thaw_FORMAT. HEIF of 1.15 names the versions of its codecs; DCMTK, the one library for DICOM that
# all distributions have, is in C++, and so is dicom.cc.
function(thaw_format format)
    if(${format}_FOUND)
        add_library(thaw_${format} INTERFACE)
        target_link_libraries(thaw_${format} INTERFACE ${ARGN})
        message(STATUS "Pictures: ${format} is read, ${${format}_VERSION}")
    else()
        message(STATUS "Pictures: ${format} is not read: its library was not found")
    endif()
endfunction()

pkg_check_modules(webp IMPORTED_TARGET libwebp>=1 libwebpdemux>=1)
set(webp_VERSION ${webp_libwebp_VERSION})
thaw_format(webp PkgConfig::webp)

pkg_check_modules(tiff IMPORTED_TARGET libtiff-4>=4.1)
thaw_format(tiff PkgConfig::tiff)

pkg_check_modules(heif IMPORTED_TARGET libheif>=1.15 libde265>=1.0.7)
set(heif_VERSION ${heif_libheif_VERSION})
thaw_format(heif PkgConfig::heif)

# Its own lists name what only its tools use.
find_path(DCMTK_INCLUDE dcmtk/dcmimgle/dcmimage.h)
set(dicom_FOUND ${DCMTK_INCLUDE})
set(dicom_VERSION "DCMTK")
foreach(library dcmimage dcmimgle dcmjpeg ijg8 ijg12 ijg16 dcmjpls dcmtkcharls dcmdata oflog ofstd)
    find_library(DCMTK_${library} ${library})
    if(NOT DCMTK_${library})
        set(dicom_FOUND FALSE)
    endif()
    list(APPEND DCMTK_LIBRARIES ${DCMTK_${library}})
endforeach()
thaw_format(dicom ${DCMTK_LIBRARIES})
