#include "textflag.h"
#include "go_asm.h"

// 32 blocks at once, as two times 16 whose steps take turns: the 32-bit halves of 16
// blocks are in one register each, Z0 and Z1, Z2 and Z3. See lanes.blocks for the
// same in Go.

// Which block each of the 16 places has, so that the words come out in the order of
// the blocks when the halves are woven together.
DATA places<>+0x00(SB)/4, $0
DATA places<>+0x04(SB)/4, $1
DATA places<>+0x08(SB)/4, $8
DATA places<>+0x0c(SB)/4, $9
DATA places<>+0x10(SB)/4, $2
DATA places<>+0x14(SB)/4, $3
DATA places<>+0x18(SB)/4, $10
DATA places<>+0x1c(SB)/4, $11
DATA places<>+0x20(SB)/4, $4
DATA places<>+0x24(SB)/4, $5
DATA places<>+0x28(SB)/4, $12
DATA places<>+0x2c(SB)/4, $13
DATA places<>+0x30(SB)/4, $6
DATA places<>+0x34(SB)/4, $7
DATA places<>+0x38(SB)/4, $14
DATA places<>+0x3c(SB)/4, $15
GLOBL places<>(SB), RODATA|NOPTR, $64

// Patterns of VPSHUFB: byte 3, 2, 1 or 0 of each word alone, and its bytes reversed.
DATA byte3<>+0(SB)/8, $0x8080800780808003
DATA byte3<>+8(SB)/8, $0x8080800f8080800b
GLOBL byte3<>(SB), RODATA|NOPTR, $16
DATA byte2<>+0(SB)/8, $0x8080800680808002
DATA byte2<>+8(SB)/8, $0x8080800e8080800a
GLOBL byte2<>(SB), RODATA|NOPTR, $16
DATA byte1<>+0(SB)/8, $0x8080800580808001
DATA byte1<>+8(SB)/8, $0x8080800d80808009
GLOBL byte1<>(SB), RODATA|NOPTR, $16
DATA byte0<>+0(SB)/8, $0x8080800480808000
DATA byte0<>+8(SB)/8, $0x8080800c80808008
GLOBL byte0<>(SB), RODATA|NOPTR, $16
DATA swap<>+0(SB)/8, $0x0405060700010203
DATA swap<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap<>(SB), RODATA|NOPTR, $16

// LOOKUP gets, for both x, the words of a box that one byte of them says.
#define LOOKUP(byte, box, x, y, xout, yout) \
	VPSHUFB    byte, x, Z4;                 \
	VPSHUFB    byte, y, Z5;                 \
	KXNORW     K1, K1, K1;                  \
	KXNORW     K2, K2, K2;                  \
	VPGATHERDD box(BX)(Z4*4), K1, xout;     \
	VPGATHERDD box(BX)(Z5*4), K2, yout

// ROUND is a step of the cipher: p is exclusive-ored to the halves r, and f of the
// halves l.
#define ROUND(p, lx, ly, rx, ry)                \
	LOOKUP(Z17, lanes_s0, lx, ly, Z6, Z7);      \
	LOOKUP(Z18, lanes_s1, lx, ly, Z8, Z9);      \
	VPADDD      Z8, Z6, Z6;                     \
	VPADDD      Z9, Z7, Z7;                     \
	LOOKUP(Z19, lanes_s2, lx, ly, Z8, Z9);      \
	VPXORD      Z8, Z6, Z6;                     \
	VPXORD      Z9, Z7, Z7;                     \
	LOOKUP(Z20, lanes_s3, lx, ly, Z8, Z9);      \
	VPADDD      Z8, Z6, Z6;                     \
	VPADDD      Z9, Z7, Z7;                     \
	VPXORD.BCST (lanes_p+4*(p))(BX), rx, rx;    \
	VPXORD.BCST (lanes_p+4*(p))(BX), ry, ry;    \
	VPXORD      Z6, rx, rx;                     \
	VPXORD      Z7, ry, ry

#define ROUNDS(p)                  \
	ROUND(p, Z0, Z2, Z1, Z3);      \
	ROUND(p+1, Z1, Z3, Z0, Z2)

// func cryptWide(k *lanes, number, first uint32, text []byte)
TEXT ·cryptWide(SB), NOSPLIT, $0-40
	MOVQ            k+0(FP), BX
	MOVL            number+8(FP), AX
	MOVL            first+12(FP), CX
	MOVQ            text_base+16(FP), DI
	MOVQ            text_len+24(FP), SI
	VMOVDQU32       places<>(SB), Z16
	VBROADCASTI32X4 byte3<>(SB), Z17
	VBROADCASTI32X4 byte2<>(SB), Z18
	VBROADCASTI32X4 byte1<>(SB), Z19
	VBROADCASTI32X4 byte0<>(SB), Z20
	VBROADCASTI32X4 swap<>(SB), Z21
	VPBROADCASTD    AX, Z22
	JMP             more

loop:
	VPBROADCASTD CX, Z1
	ADDL         $16, CX
	VPBROADCASTD CX, Z3
	ADDL         $16, CX
	VPADDD       Z16, Z1, Z1
	VPADDD       Z16, Z3, Z3
	VPXORD.BCST  lanes_p(BX), Z22, Z0
	VMOVDQA32    Z0, Z2
	ROUNDS(1)
	ROUNDS(3)
	ROUNDS(5)
	ROUNDS(7)
	ROUNDS(9)
	ROUNDS(11)
	ROUNDS(13)
	ROUNDS(15)
	VPXORD.BCST (lanes_p+4*17)(BX), Z1, Z1
	VPXORD.BCST (lanes_p+4*17)(BX), Z3, Z3

	// Z1 and Z3 are the first words of the blocks now.
	VPSHUFB    Z21, Z0, Z0
	VPSHUFB    Z21, Z1, Z1
	VPSHUFB    Z21, Z2, Z2
	VPSHUFB    Z21, Z3, Z3
	VPUNPCKLDQ Z0, Z1, Z4
	VPUNPCKHDQ Z0, Z1, Z5
	VPUNPCKLDQ Z2, Z3, Z6
	VPUNPCKHDQ Z2, Z3, Z7
	VPXORD     0(DI), Z4, Z4
	VPXORD     64(DI), Z5, Z5
	VPXORD     128(DI), Z6, Z6
	VPXORD     192(DI), Z7, Z7
	VMOVDQU32  Z4, 0(DI)
	VMOVDQU32  Z5, 64(DI)
	VMOVDQU32  Z6, 128(DI)
	VMOVDQU32  Z7, 192(DI)
	ADDQ       $const_wideSize, DI
	SUBQ       $const_wideSize, SI

more:
	TESTQ SI, SI
	JNZ   loop
	VZEROUPPER
	RET
